# SPDX-License-Identifier: Apache-2.0
"""Every voxel stays in place: marks in an oblique, anisotropic, lopsided volume, in all orientations of its axes."""

import importlib
import runpy
import shutil
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from nibabel import orientations
from nibabel.affines import apply_affine

from fedxai.intake.volume import Volume
from fedxai.label import shims
from fedxai.label.archive import Archive
from fedxai.label.bands import bands
from fedxai.label.feedback import Feedback
from fedxai.label.grids import RIGHT_AND_DOWN, read_drawing, read_image, write_answer
from fedxai.label.model_watch import ModelWatch
from fedxai.report.dicom_saliency import SaliencyMap

SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
SHAPE, SPACING = (26, 34, 18), (1.7, 1.2, 2.6)
MARKS = ((5, 6, 4), (18, 9, 12), (12, 27, 7))  # no plane mirrors them onto each other
TURNS = [
    np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)], dtype=float)
    for order in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]

SLICED = [  # columns, rows, slices: 24, for slices run along the cross product of rows and columns in whatever order
    "".join(codes)
    for order in permutations(("LR", "PA", "SI"))
    for codes in product(*order)
    if np.linalg.det(orientations.inv_ornt_aff(orientations.axcodes2ornt(codes), SHAPE)[:3, :3]) > 0
]


def oblique() -> np.ndarray:
    """A head that lies askew: turned by 20, -13 and 31 degrees."""
    affine = np.eye(4)
    rotation = np.eye(3)
    for axis, degrees in enumerate((20, -13, 31)):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        i, j = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[i, i] = step[j, j] = c
        step[i, j], step[j, i] = -s, s
        rotation = rotation @ step
    affine[:3, :3] = rotation * SPACING
    affine[:3, 3] = (-21.0, 13.0, 8.0)
    return affine


def phantom() -> tuple[np.ndarray, np.ndarray]:
    voxels, region = np.full(SHAPE, 100, dtype=np.float32), np.zeros(SHAPE, dtype=np.uint8)
    for number, (i, j, k) in enumerate(MARKS, start=1):
        block = (slice(i - 2, i + 2), slice(j - 2, j + 2), slice(k - 1, k + 2))
        voxels[block], region[block] = 400 * number, number
    return voxels, region


def turned(array: np.ndarray, turn: np.ndarray) -> nibabel.Nifti1Image:
    affine = oblique() @ orientations.inv_ornt_aff(turn, SHAPE)
    return nibabel.Nifti1Image(np.ascontiguousarray(orientations.apply_orientation(array, turn)), affine)


def centres(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Middles in mm of what holds 1, 2 and 3."""
    return np.array([apply_affine(affine, np.argwhere(voxels == number).mean(axis=0)) for number in (1, 2, 3)])


@pytest.fixture(scope="module")
def served(untrained):
    return {
        name: ModelWatch(str(untrained(name)), device="cpu").current()
        for name in ("brain_mri_lesion_classification", "hippocampus_mri_segmentation")
    }


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: "".join(f"{int(a)}{'+' if f > 0 else '-'}" for a, f in turn))
def test_marks_stay_in_place_in_all_48_orientations(served, turn, tmp_path):
    voxels, region = phantom()
    image, drawn = turned(voxels, turn), turned(region, turn)
    path, mask = tmp_path / "image.nii.gz", tmp_path / "region.nii.gz"
    nibabel.save(image, path)
    nibabel.save(turned((region > 0).astype(np.uint8), turn), mask)
    truth = centres(region, oblique())
    assert centres(np.asanyarray(drawn.dataobj), drawn.affine) == pytest.approx(truth, abs=1e-4)
    model = served["brain_mri_lesion_classification"]
    prepared = model.prepare(path, region=mask)
    lying = prepared.regions[0]
    # the region and the bright marks lie on one another on the network's grid
    assert prepared.image.as_tensor()[lying].mean() > 3 * prepared.image.as_tensor()[~lying].mean()
    stands_for_saliency = (prepared.image.as_tensor() - 0.05).clamp(min=0)
    back = model.onto_image(stands_for_saliency, prepared, nearest=False)
    banded = model.onto_image(bands(stands_for_saliency).float(), prepared, nearest=True)
    affine = model.affine_of(prepared)
    assert affine == pytest.approx(image.affine, abs=1e-4)
    inside = np.asanyarray(drawn.dataobj) > 0
    assert back.shape == banded.shape == inside.shape
    assert set(np.unique(banded)) <= {0, 1, 2, 3}
    for number, centre in enumerate(truth, start=1):
        mark = np.asanyarray(drawn.dataobj) == number
        strongest = np.unravel_index(np.where(dilated(mark), back, 0).argmax(), back.shape)
        assert np.linalg.norm(apply_affine(affine, strongest) - centre) < 5
        assert back[mark].mean() > 5 * back[~dilated(inside)].mean()
        weights = np.where(dilated(mark), back, 0)
        middle = apply_affine(affine, np.argwhere(weights > 0).T @ weights[weights > 0] / weights.sum())
        assert np.linalg.norm(middle - centre) < 0.5 * min(SPACING)
        assert (banded[mark] > 0).mean() > 0.9


def dilated(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, iterations=2)


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz"])
def test_a_label_map_comes_back_from_a_viewer_voxel_for_voxel(extension, tmp_path):
    _, region = phantom()
    for turn in TURNS[::7]:
        drawn = turned(region, turn)
        nibabel.save(drawn, tmp_path / "image.nii.gz")
        image = read_image(tmp_path / "image.nii.gz")
        file = write_answer(np.asanyarray(drawn.dataobj), image.affine, extension)
        assert np.array_equal(read_drawing(file, image), np.asanyarray(drawn.dataobj))
        # and where the viewer turned its axes
        canonical = Volume(voxels=np.asanyarray(drawn.dataobj), affine=image.affine).canonical()
        canonical.write(tmp_path / "turned.nii.gz")
        assert np.array_equal(read_drawing(tmp_path / "turned.nii.gz", image), np.asanyarray(drawn.dataobj))
        file.unlink()


def test_a_segmentation_lies_where_its_voxels_do(served, tmp_path):
    voxels, region = phantom()
    for turn in TURNS[5::11]:
        nibabel.save(turned(voxels, turn), tmp_path / "image.nii.gz")
        nibabel.save(turned((region == 1).astype(np.uint8), turn), tmp_path / "label.nii.gz")
        model = served["hippocampus_mri_segmentation"]
        prepared = model.prepare(tmp_path / "image.nii.gz", region=tmp_path / "label.nii.gz")
        back = model.onto_image(prepared.regions[1].float(), prepared, nearest=True)
        truth = np.asanyarray(turned(region, turn).dataobj) == 1
        dice = 2 * (truth & (back > 0)).sum() / (truth.sum() + (back > 0).sum())
        assert dice > 0.85


def test_a_picture_keeps_its_rows_and_columns(untrained, tmp_path):
    from PIL import Image

    pixels = np.zeros((90, 130), dtype=np.uint8)
    pixels[10:22, 100:118], pixels[60:66, 5:12] = 250, 120
    Image.fromarray(pixels).save(tmp_path / "image.png")
    model = ModelWatch(str(untrained("brain_mri_tumor_classification")), device="cpu").current()
    prepared = model.prepare(tmp_path / "image.png")
    back = model.onto_image(prepared.image.as_tensor(), prepared, nearest=False)
    assert back.shape == (130, 90, 1)
    assert np.corrcoef(back[..., 0].T.ravel(), pixels.ravel())[0, 1] > 0.95
    assert np.array_equal(model.affine_of(prepared), RIGHT_AND_DOWN)
    volume = read_image(tmp_path / "image.png")
    assert np.array_equal(volume.voxels[..., 0].T, pixels)


def test_saliency_of_a_mark_lies_on_the_mark(served, tmp_path):
    """The whole way with a real map: gradient x input of a single bright block is nothing elsewhere."""
    voxels = np.zeros(SHAPE, dtype=np.float32)
    block = (slice(16, 20), slice(8, 12), slice(10, 14))
    voxels[block] = 900
    for turn in TURNS[3::13]:
        nibabel.save(turned(voxels, turn), tmp_path / "image.nii.gz")
        model = served["brain_mri_lesion_classification"]
        prepared = model.prepare(tmp_path / "image.nii.gz")
        looked = model.look(prepared, "gradient_x_input")
        back = np.abs(model.onto_image(looked.relevance, prepared, nearest=False))
        mark = np.asanyarray(turned(voxels, turn).dataobj) > 0
        assert back[dilated(mark)].sum() > 0.95 * back.sum()
        assert isinstance(looked.relevance, torch.Tensor)


def program(name: str) -> str | None:
    """One of dcmqi's, which share no code with what wrote the files."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else shutil.which(name)


def as_itk(name: str, file: Path, folder: Path) -> list[np.ndarray]:
    """By file that dcmqi makes of a DICOM object, where each voxel lies (RAS mm) and its value."""
    import SimpleITK as sitk

    folder.mkdir()
    line = [program(name), "--inputDICOM", file, "--outputDirectory", folder, "-t", "nrrd"]
    subprocess.run([str(part) for part in line], check=True, capture_output=True)
    found = []
    for path in sorted(folder.glob("*.nrrd")):
        image = sitk.ReadImage(str(path))
        values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        places = apply_affine(np.diag([-1, -1, 1, 1]) @ affine, np.indices(values.shape).reshape(3, -1).T)
        found.append(np.column_stack([places, values.ravel()]))
    return found


@pytest.fixture
def series(request, tmp_path):
    """The phantom as DICOM files in a folder, sliced along any axis, and the store that reads it."""
    shims.apply()
    stores = importlib.import_module("fedxai.label.stores")
    voxels, _ = phantom()
    image = nibabel.Nifti1Image(voxels, oblique())
    SERIES.write_volume(tmp_path / "export", image, axes=request.param)
    store = stores.ReadersArchive(Archive(str(tmp_path / "export")), tmp_path / "archive")
    store.feedback, store.checked = Feedback(tmp_path / "archive" / "feedback"), lambda said: said
    (identity,) = store.list_images()
    return SimpleNamespace(store=store, identity=identity, stored=tmp_path / "export" / "fedxai")


@pytest.mark.slow
@pytest.mark.skipif(program("paramap2itkimage") is None, reason="dcmqi is not installed: pip install dcmqi")
@pytest.mark.parametrize("series", SLICED, indirect=True)
def test_marks_stay_in_place_in_dicom_however_it_is_sliced(served, series, tmp_path):
    """Image, a region drawn on other axes and a map on the image's: where dcmqi, and with it 3D Slicer, puts them."""
    _, region = phantom()
    truth = centres(region, oblique())
    path = Path(series.store.get_image_uri(series.identity))
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj)
    assert centres(np.where(voxels >= 400, voxels // 400, 0), image.affine) == pytest.approx(truth, abs=0.01)

    nibabel.save(nibabel.Nifti1Image(region, oblique()), tmp_path / "drawn.nii.gz")
    told = {"label_info": [{"name": f"mark {number}", "idx": number} for number in (1, 2, 3)], "user": "Rahman"}
    series.store.save_label(series.identity, str(tmp_path / "drawn.nii.gz"), "final", told)
    (file,) = series.stored.rglob("*.dcm")
    for number, found in enumerate(as_itk("segimage2itkimage", file, tmp_path / "seg"), start=1):
        inside = found[found[:, 3] > 0, :3]
        assert len(inside) == (region == number).sum()
        assert inside.mean(axis=0) == pytest.approx(truth[number - 1], abs=0.01)

    model = served["brain_mri_lesion_classification"]
    prepared = model.prepare(path)
    relevance = (prepared.image.as_tensor() - 0.05).clamp(min=0)
    values = model.onto_image(relevance, prepared, nearest=False).astype(np.float32)
    saliency = SaliencyMap(
        values=values, affine=model.affine_of(prepared), method="saliency", target="marks", model="0123456789abcdef" * 4
    )
    uid = series.store.store_saliency(series.identity, saliency)
    (found,) = as_itk("paramap2itkimage", series.stored / uid / "000000.dcm", tmp_path / "map")
    i, j, k = np.rint(apply_affine(np.linalg.inv(image.affine), found[:, :3])).astype(int).T
    assert np.array_equal(found[:, 3], values[i, j, k])
    for centre in truth:
        near = found[np.linalg.norm(found[:, :3] - centre, axis=1) < 8]
        middle = near[:, :3].T @ near[:, 3] / near[:, 3].sum()
        assert np.linalg.norm(middle - centre) < 0.5 * min(SPACING)
