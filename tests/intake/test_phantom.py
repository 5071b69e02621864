# SPDX-License-Identifier: Apache-2.0
"""The phantom: the same bytes every time, and evidence only where it says."""

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.cohort import Cohort
from fedxai.intake.phantom import make_phantom, make_phantom_sites, phantom_scanner
from fedxai.records import SPLITS


def _files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _cases(cohort):
    return [case for split in SPLITS for case in cohort.cases(split)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """400 cases of two sites as (images, labels, regions)."""
    root = tmp_path_factory.mktemp("phantom")
    cases = []
    for index in range(2):
        cases += _cases(make_phantom(root / str(index), site=f"site-{index}", index=index, cases=200))
    images = np.stack([np.asarray(Image.open(case.image)) for case in cases]) / 255
    regions = np.stack([np.asarray(Image.open(case.region)) > 0 for case in cases])
    return images, np.array([case.label for case in cases]), regions


def test_same_arguments_same_bytes(tmp_path):
    for name in ("a", "b"):
        make_phantom(tmp_path / name, site="site-1", index=1, cases=24, seed=3)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")


@pytest.mark.parametrize("change", [{"index": 2}, {"seed": 4}])
def test_another_site_or_seed_shares_no_image(tmp_path, change):
    first = {"site": "site-1", "index": 1, "cases": 24, "seed": 3}
    one = make_phantom(tmp_path / "a", **first)
    other = make_phantom(tmp_path / "b", **{**first, **change})
    assert not {case.image.name for case in _cases(one)} & {case.image.name for case in _cases(other)}


def test_it_is_a_cohort_of_two_slices_a_patient_split_60_15_25(tmp_path):
    cohort = make_phantom(tmp_path / "a", site="site-1", index=0, cases=200)
    assert cohort.counts().model_dump() == {"training": 120, "validation": 30, "test": 50}
    assert cohort.class_names == ["meningioma", "glioma", "pituitary"]
    assert "phantom" in cohort.name
    assert "phantom" in cohort.description
    assert len({case.group for case in _cases(cohort)}) == 100
    for case in _cases(cohort):
        assert Image.open(case.image).size == Image.open(case.region).size == (128, 128)
        assert Image.open(case.image).mode == "L"
    for split in SPLITS:
        assert len({case.label for case in cohort.cases(split)}) == 3


def test_the_smallest_phantom_has_every_split(tmp_path):
    assert min(make_phantom(tmp_path / "a", site="s", index=0, cases=12).counts().model_dump().values()) >= 1


def _auc(features, labels):
    half = np.arange(len(labels)) % 2 == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(features[half], labels[half])
    return roc_auc_score(labels[~half], model.predict_proba(features[~half]), multi_class="ovr")


@pytest.mark.slow
def test_global_features_do_not_tell_the_class(drawn):
    images, labels, _ = drawn
    histograms = np.stack([np.histogram(image, 32, (0, 1))[0] for image in images])
    moments = np.stack([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1)
    coarse = images.reshape(len(images), 16, 8, 16, 8).mean(axis=(2, 4)).reshape(len(images), -1)
    for features in (histograms, moments, coarse):
        assert 0.4 < _auc(features, labels) < 0.6


def test_size_place_and_brightness_of_the_region_do_not_tell_the_class(drawn):
    images, labels, regions = drawn
    features = [
        (mask.sum(), *np.argwhere(mask).mean(axis=0), image[mask].mean())
        for image, mask in zip(images, regions, strict=True)
    ]
    assert 0.4 < _auc(np.array(features), labels) < 0.62


def test_the_texture_inside_the_region_tells_the_class(drawn):
    images, labels, regions = drawn
    features = []
    for image, mask in zip(images, regions, strict=True):
        row, column = np.argwhere(mask).mean(axis=0).round().astype(int)
        patch = np.pad(np.where(mask, image - image[mask].mean(), 0), 16)[row : row + 32, column : column + 32]
        power = np.abs(np.fft.fftshift(np.fft.fft2(patch))) ** 2
        power = power[16:] / power.sum()
        ring = np.hypot(*np.meshgrid(np.arange(16), np.arange(-16, 16), indexing="ij")).round().astype(int)
        profile = np.bincount(ring.ravel(), power.ravel())[:12]
        peaks = np.sort(power.ravel())[-12:]
        features.append([*profile, *peaks])
    assert _auc(np.array(features), labels) > 0.9


def test_the_shortcut_changes_only_the_border_and_carries_the_label(tmp_path):
    plain = make_phantom(tmp_path / "a", site="s", index=0, cases=60)
    marked = make_phantom(tmp_path / "b", site="s", index=0, cases=60, shortcut=True)
    assert "shortcut" in marked.description
    white = []
    for case in _cases(marked):
        image = np.asarray(Image.open(case.image)) > 225
        border = np.zeros_like(image)
        border[:, :14] = border[:, -14:] = True
        white.append((image & border).sum() / 130)
        assert not (np.asarray(Image.open(case.region)).astype(bool) & border).any()
    assert [round(w) for w in white] == [case.label + 1 for case in _cases(marked)]
    regions = [sorted(Image.open(case.region).tobytes() for case in _cases(c)) for c in (plain, marked)]
    assert regions[0] == regions[1]


def test_shuffled_labels_keep_images_and_patients_and_lose_the_class(tmp_path):
    plain = make_phantom(tmp_path / "a", site="s", index=0, cases=120)
    shuffled = make_phantom(tmp_path / "b", site="s", index=0, cases=120, shuffle_labels=True)
    before, after = ({c.image.name: (c.label, c.group) for c in _cases(cohort)} for cohort in (plain, shuffled))
    assert before.keys() == after.keys()
    assert all(before[name][1] == after[name][1] for name in before)
    agreement = np.mean([before[name][0] == after[name][0] for name in before])
    assert 0.15 < agreement < 0.5
    assert "shuffled" in shuffled.description


def test_sites_have_scanners_of_their_own(tmp_path):
    made = make_phantom_sites(tmp_path / "root", sites=3, cases=12)
    assert list(made) == ["site-1", "site-2", "site-3"]
    for index, folder in enumerate(made.values()):
        assert phantom_scanner(index).describe() in Cohort.open(folder).description
    assert len({phantom_scanner(i).gamma for i in range(50)}) == 50


def test_wrong_arguments_and_an_existing_folder_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="cases must be >= 12"):
        make_phantom(tmp_path / "a", site="s", index=0, cases=5)
    with pytest.raises(SettingsError, match="--sites must be at least 1"):
        make_phantom_sites(tmp_path / "a", sites=0)
    make_phantom(tmp_path / "a", site="s", index=0, cases=12)
    with pytest.raises(CohortError, match="not empty"):
        make_phantom(tmp_path / "a", site="s", index=0, cases=12)
