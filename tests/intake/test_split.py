# SPDX-License-Identifier: Apache-2.0
"""Simulated hospitals: nobody is lost, nobody is doubled, nobody crosses."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.cohort import Cohort
from fedxai.intake.pixels import encode_png
from fedxai.intake.scanner import site_scanners
from fedxai.intake.split import make_sites
from fedxai.intake.stored import voxel_type
from fedxai.intake.volume import Volume
from fedxai.intake.volume_file import read_volume
from fedxai.intake.volume_scanner import site_volume_scanners
from fedxai.records import SPLITS, Case

WAYS = ("iid", "label-skew", "quantity", "acquisition")


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """240 tiny cases of 80 patients, three classes, regions."""
    folder = tmp_path_factory.mktemp("pooled") / "pooled"
    rng = np.random.default_rng(0)
    for home in ("images", "regions"):
        (folder / home).mkdir(parents=True)
    splits = {split: [] for split in SPLITS}
    for i in range(240):
        image, region = folder / f"images/{i:03d}.png", folder / f"regions/{i:03d}.png"
        image.write_bytes(encode_png(rng.integers(0, 255, (8, 8), dtype=np.uint8)))
        region.write_bytes(encode_png(np.eye(8, dtype=np.uint8) * 255))
        patient = i // 3
        split = ("training", "training", "training", "validation", "test")[patient % 5]
        case = Case(image=image, region=region, label=patient % 3, group=f"p{patient:04d}", tabular={"row": i})
        splits[split].append(replace(case, spacing=(0.2, 0.1)) if i % 2 else case)
    return Cohort.write(
        folder, name="pooled", description="d", modality="MRI", class_names=["a", "b", "c"], splits=splits
    )


def _rows(cohort):
    """Every case as (its row, split, group, label, spacing)."""
    return [(c.tabular["row"], split, c.group, c.label, c.spacing) for split in SPLITS for c in cohort.cases(split)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(WAYS[:3]), st.integers(2, 5), st.integers(0, 1000))
def test_every_case_is_kept_once_in_its_split_and_patients_never_cross(pooled, tmp_path_factory, by, sites, seed):
    out = tmp_path_factory.mktemp("sites") / "out"
    made = {name: Cohort.open(path) for name, path in make_sites(pooled, out, sites=sites, by=by, seed=seed).items()}
    assert sorted(row for cohort in made.values() for row in _rows(cohort)) == sorted(_rows(pooled))
    homes = [{group for _, _, group, *_ in _rows(cohort)} for cohort in made.values()]
    assert sum(map(len, homes)) == len(set().union(*homes))
    assert all(min(cohort.counts().model_dump().values()) >= 1 for cohort in made.values())


@pytest.mark.parametrize("by", WAYS)
def test_same_seed_same_bytes_another_seed_another_deal(pooled, tmp_path, by):
    def digest(name, seed):
        make_sites(pooled, tmp_path / name, sites=3, by=by, seed=seed)
        return {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }

    first = digest("a", 1)
    assert first == digest("b", 1)
    assert first != digest("c", 2)


def _class_shares(made):
    counts = [Counter(label for _, _, _, label, _ in _rows(Cohort.open(path))) for path in made.values()]
    return np.array([[count[label] / sum(count.values()) for label in range(3)] for count in counts])


def test_iid_sites_are_alike_and_skewed_ones_are_not(pooled, tmp_path):
    iid = _class_shares(make_sites(pooled, tmp_path / "iid", by="iid"))
    skew = _class_shares(make_sites(pooled, tmp_path / "skew", by="label-skew", alpha=0.3))
    assert np.ptp(iid, axis=0).max() < 0.15
    assert np.ptp(skew, axis=0).max() > 0.4


def test_a_large_alpha_comes_back_to_iid(pooled, tmp_path):
    shares = _class_shares(make_sites(pooled, tmp_path / "sites", by="label-skew", alpha=1e4))
    assert np.ptp(shares, axis=0).max() < 0.2


def test_quantity_sites_differ_in_size_and_not_in_mix(pooled, tmp_path):
    made = make_sites(pooled, tmp_path / "sites", by="quantity", sites=3, seed=3)
    sizes = [len(_rows(Cohort.open(path))) for path in made.values()]
    assert max(sizes) > 1.8 * min(sizes)
    assert np.ptp(_class_shares(made), axis=0).max() < 0.3


def test_acquisition_is_the_iid_deal_pictured_by_each_sites_scanner(pooled, tmp_path):
    plain = make_sites(pooled, tmp_path / "iid", by="iid", sites=2)
    shifted = make_sites(pooled, tmp_path / "acq", by="acquisition", sites=2)
    for i, name in enumerate(plain):
        before, after = Cohort.open(plain[name]), Cohort.open(shifted[name])
        assert sorted(_rows(before)) == sorted(_rows(after))
        assert site_scanners(2, seed=0)[i].describe() in after.description
        old = {case.tabular["row"]: case for case in before.cases("test")}
        for case in after.cases("test"):
            assert Image.open(case.image).size == (8, 8)
            assert Image.open(case.image).tobytes() != Image.open(old[case.tabular["row"]].image).tobytes()
            assert np.asarray(Image.open(case.region)).any()


def test_sites_know_that_their_pseudonyms_come_from_one_cohort(pooled, tmp_path):
    spaces = {Cohort.open(path).pseudonyms for path in make_sites(pooled, tmp_path / "a").values()}
    assert len(spaces) == 1
    assert spaces != {""}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "age"}, "Unknown --by 'age'; use iid, label-skew"),
        ({"sites": 1}, "--sites must be at least 2, got 1"),
        ({"alpha": 0.3}, "--alpha only goes with"),
        ({"by": "label-skew", "alpha": 0}, "--alpha must be > 0, got 0"),
    ],
)
def test_a_wrong_argument_is_refused(pooled, tmp_path, arguments, message):
    with pytest.raises(SettingsError, match=message):
        make_sites(pooled, tmp_path / "a", **arguments)


def test_what_cannot_fill_every_site_is_refused_and_leaves_nothing(pooled, tmp_path):
    with pytest.raises(
        CohortError, match="16 patients in validation are too few for 17 sites; use fewer --sites, or take"
    ):
        make_sites(pooled, tmp_path / "a", sites=17)
    with pytest.raises(CohortError, match="None of 200 draws"):
        make_sites(pooled, tmp_path / "a", sites=14, by="label-skew", alpha=0.01)
    assert list(tmp_path.iterdir()) == []


def _volumes(folder, types, *, mapped, shape=(4, 5, 3)):
    """A cohort of one volume a patient, stored in the given types, for segmentation or with classes."""
    splits = {split: [] for split in SPLITS}
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i, name in enumerate(types):
        voxels = np.random.default_rng(i).integers(0, 200, shape).astype(name)
        image = folder / "images" / Volume(voxels=voxels, affine=np.eye(4)).write_into(folder / "images")
        labels = Volume(voxels=(voxels > 100).astype(np.uint8), affine=np.eye(4))
        label = folder / "labels" / labels.write_into(folder / "labels") if mapped else i % 2
        splits[SPLITS[i % 3]].append(Case(image=image, label=label, group=f"p{i}"))
    names = ["background", "lesion"]
    return Cohort.write(folder, name="v", description="", modality="CT", class_names=names, splits=splits)


def _types(folder):
    cohort = Cohort.open(folder)
    return {voxel_type(case.image) for split in SPLITS for case in cohort.cases(split)}


@pytest.mark.parametrize("mapped", [True, False])
def test_voxel_types_get_sites_of_their_own_in_proportion(tmp_path, mapped):
    cohort = _volumes(tmp_path / "all", ["float32"] * 30 + ["uint8"] * 12, mapped=mapped)
    made = make_sites(cohort, tmp_path / "sites", sites=4, by="voxel-type")
    assert [_types(folder) for folder in made.values()] == [{"float32"}] * 3 + [{"uint8"}]
    assert sum(sum(Cohort.open(folder).counts().model_dump().values()) for folder in made.values()) == 42


def test_sites_of_a_segmentation_cohort_bring_their_label_maps(tmp_path):
    cohort = _volumes(tmp_path / "all", ["int16"] * 12, mapped=True)
    made = make_sites(cohort, tmp_path / "sites", sites=2, by="iid")
    given = {case.image.name: case.label.read_bytes() for split in SPLITS for case in cohort.cases(split)}
    dealt = [c for folder in made.values() for split in SPLITS for c in Cohort.open(folder).cases(split)]
    assert {case.image.name: case.label.read_bytes() for case in dealt} == given
    assert all(case.label.is_relative_to(tmp_path / "sites") for case in dealt)


@pytest.mark.parametrize("mapped", [True, False])
def test_volumes_are_pictured_again_with_their_masks(tmp_path, mapped):
    cohort = _volumes(tmp_path / "all", ["int16"] * 12, mapped=mapped, shape=(9, 8, 6))
    plain = make_sites(cohort, tmp_path / "iid", sites=3, by="iid")
    made = make_sites(cohort, tmp_path / "sites", sites=3, by="acquisition")
    scanners = site_volume_scanners(3, seed=0)
    assert sorted(scanner.thickness for scanner in scanners) == [1, 2, 3]
    for scanner, name in zip(scanners, made, strict=True):
        before, after = Cohort.open(plain[name]), Cohort.open(made[name])
        assert scanner.describe() in after.description
        assert [c.group for c in before.cases("test")] == [c.group for c in after.cases("test")]
        for old, new in zip(before.cases("training"), after.cases("training"), strict=True):
            seen = read_volume(new.image, what="image")
            assert seen.grid == (9, 8, 6 // scanner.thickness)
            assert voxel_type(new.image) == "int16"
            assert new.image.name != old.image.name
            if mapped:
                label = read_volume(new.label, what="label")
                assert np.array_equal(label.affine, seen.affine)
                assert set(np.unique(label.voxels)) == {0, 1}
            else:
                assert new.label == old.label


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("label-skew", "must have cases of classes, not label maps"),
        ("voxel-type", "must have 2 to 2 types for 2 sites, got 1"),
    ],
)
def test_a_split_that_means_nothing_for_label_maps_is_refused(tmp_path, by, message):
    cohort = _volumes(tmp_path / "all", ["int16"] * 12, mapped=True)
    with pytest.raises(SettingsError, match=message):
        make_sites(cohort, tmp_path / "sites", sites=2, by=by)
    assert not (tmp_path / "sites").exists()
