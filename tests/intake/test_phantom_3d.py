# SPDX-License-Identifier: Apache-2.0
"""The phantom of volumes: the same bytes every time, one truth in millimetres, and evidence only where it says."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.anatomy_3d import draw_lesion, draw_structure
from fedxai.intake.phantom_3d import make_phantom_3d, make_phantom_3d_sites
from fedxai.records import SPLITS


def _cases(cohort):
    return [case for split in SPLITS for case in cohort.cases(split)]


def _files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes") / "lesions"
    return make_phantom_3d(folder, site="site-2", index=1, task="classification", cases=12)


def test_same_arguments_same_bytes(lesions, tmp_path):
    again = make_phantom_3d(tmp_path / "again", site="site-2", index=1, task="classification", cases=12)
    assert _files(again.folder) == _files(lesions.folder)


def test_every_split_has_patients_and_every_volume_its_own_region_on_its_grid(lesions):
    assert min(lesions.counts().model_dump().values()) >= 1
    assert len({case.group for case in _cases(lesions)}) == 12
    assert sorted(case.label for case in _cases(lesions)) == [0] * 4 + [1] * 4 + [2] * 4
    for case in _cases(lesions):
        image, region = nib.load(case.image), nib.load(case.region)
        assert image.shape == region.shape == (48, 48, 16)
        assert image.header.get_zooms() == region.header.get_zooms() == (1, 1, 3)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert set(np.unique(region.dataobj)) == {0, 1}
        assert 1000 < np.asarray(region.dataobj).sum() * 3 < 10000  # cubic millimetres


def test_slices_of_any_thickness_show_the_same_block_at_the_same_millimetres(tmp_path, monkeypatch):
    """The one patient as three scanners see it: the region's volume and middle agree within a slice."""
    seen = []
    block = draw_lesion(0, np.random.default_rng(5))
    monkeypatch.setattr("fedxai.intake.phantom_3d.draw_lesion", lambda label, rng: block)
    for index in range(3):
        cohort = make_phantom_3d(tmp_path / str(index), site="s", index=index, task="classification", cases=12)
        region = nib.load(cohort.cases("test")[0].region)
        middle = np.argwhere(np.asarray(region.dataobj)).mean(axis=0)
        volume = np.asarray(region.dataobj).sum() * np.prod(region.header.get_zooms())
        seen.append([*nib.affines.apply_affine(region.affine, middle), volume])
    truth = np.argwhere(block[1]).mean(axis=0) - 23.5
    assert [nib.load(next((tmp_path / str(i) / "images").iterdir())).shape[2] for i in range(3)] == [48, 16, 24]
    np.testing.assert_allclose(np.array(seen)[:, :3], [truth] * 3, atol=0.6)
    np.testing.assert_allclose(np.array(seen)[:, 3], block[1].sum(), rtol=0.05)


def test_a_segmentation_case_has_a_map_of_three_values_as_its_label(tmp_path):
    cohort = make_phantom_3d(tmp_path / "a", site="site-1", index=0, task="segmentation", cases=12)
    assert cohort.class_names == ["background", "anterior", "posterior"]
    for case in _cases(cohort):
        image, label = nib.load(case.image), nib.load(case.label)
        assert image.shape == label.shape == (36, 48, 36)
        assert set(np.unique(label.dataobj)) == {0, 1, 2}
        assert case.region is None


def test_brightness_alone_does_not_find_the_structure():
    for seed in range(4):
        image, labels = draw_structure(np.random.default_rng(seed))
        smooth = ndimage.gaussian_filter(image, 1)
        truth = labels > 0
        best = max(
            2 * (found & truth).sum() / (found.sum() + truth.sum())
            for low in np.linspace(0.3, 0.6, 13)
            for high in np.linspace(low + 0.05, 0.75, 8)
            for found in [(smooth > low) & (smooth < high)]
        )
        assert best < 0.72


def test_the_front_of_the_structure_lies_before_its_back():
    for seed in range(4):
        _, labels = draw_structure(np.random.default_rng(seed))
        front, back = (np.argwhere(labels == value).mean(axis=0)[1] for value in (1, 2))
        assert front > back + 10
        assert ndimage.label(labels > 0)[1] == 1


@pytest.fixture(scope="module")
def drawn():
    """120 blocks as (images, labels, regions)."""
    labels = np.arange(120) % 3
    blocks = [draw_lesion(int(label), np.random.default_rng([i, 77])) for i, label in enumerate(labels)]
    return np.stack([image for image, _ in blocks]), labels, np.stack([region for _, region in blocks])


def _auc(features, labels):
    half = np.arange(len(labels)) // 3 % 2 == 0
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(features[half], labels[half])
    return roc_auc_score(labels[~half], model.predict_proba(features[~half]), multi_class="ovr")


@pytest.mark.slow
def test_what_is_outside_the_region_or_global_does_not_tell_the_class(drawn):
    images, labels, regions = drawn
    histograms = np.stack([np.histogram(image, 24, (0, 1))[0] for image in images])
    coarse = images.reshape(-1, 6, 8, 6, 8, 6, 8).mean(axis=(2, 4, 6)).reshape(len(images), -1)
    outline = [
        (mask.sum(), *np.argwhere(mask).mean(0), im[mask].mean()) for im, mask in zip(images, regions, strict=True)
    ]
    for features in (histograms, coarse, np.array(outline)):
        assert 0.33 < _auc(features, labels) < 0.67


@pytest.mark.slow
def test_the_arrangement_inside_the_region_tells_the_class(drawn):
    images, labels, regions = drawn
    features = []
    for image, mask in zip(images, regions, strict=True):
        values = np.where(mask, image - image[mask].mean(), 0)
        turned = np.abs(np.fft.fftn(values)) ** 2
        power = np.sort(turned.ravel())[::-1]
        ring = (
            np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(48) * 48] * 3, indexing="ij"))).round().astype(int)
        )
        profile = np.bincount(ring.ravel(), turned.ravel())[:14]
        features.append([*np.log(profile[1:]), *np.log(np.cumsum(power)[[2, 8, 32, 128]] / power.sum())])
    assert _auc(np.array(features), labels) > 0.9


def test_a_root_of_sites_has_thin_and_thick_slices(tmp_path):
    made = make_phantom_3d_sites(tmp_path / "root", task="segmentation", sites=2, cases=12)
    assert list(made) == ["site-1", "site-2"]
    assert {nib.load(p).shape[2] for p in (tmp_path / "root").glob("*/images/*")} == {36, 12}


def test_wrong_arguments_and_an_existing_folder_are_refused(lesions, tmp_path):
    with pytest.raises(SettingsError, match="task must be one of classification, segmentation, got 'detection'"):
        make_phantom_3d(tmp_path / "a", site="s", index=0, task="detection")
    with pytest.raises(SettingsError, match="cases must be >= 12"):
        make_phantom_3d(tmp_path / "a", site="s", index=0, task="classification", cases=5)
    with pytest.raises(SettingsError, match="--sites must be at least 1"):
        make_phantom_3d_sites(tmp_path / "a", task="classification", sites=0)
    with pytest.raises(CohortError, match="not empty"):
        make_phantom_3d(lesions.folder, site="s", index=0, task="classification", cases=12)
    assert list(tmp_path.iterdir()) == []
