# SPDX-License-Identifier: Apache-2.0
"""From a volume of any spacing to the network's input: size, millimetres, black, and the region where the image is."""

import nibabel as nib
import numpy as np
import pytest
import torch

AXES = 3
FORMAT = "classes"


@pytest.fixture
def volume(tmp_path):
    """Write an array as NIfTI of that spacing in mm, turned so that its axes point where ``axes`` says."""

    def write(voxels, spacing, name="volume.nii.gz", axes="RAS"):
        affine = np.diag([*spacing, 1.0])
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
        )
        nib.save(nib.Nifti1Image(voxels, affine).as_reoriented(turn), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def bring(bundle):
    parser = bundle.parser()
    parser.set(bundle.explain.region, "brought_region")
    transform = parser.get_parsed_content("brought_region")
    return lambda file: torch.as_tensor(transform({"region": str(file)})["region"])


def _box(spacing, value):
    """A box of 12 x 9 x 15 mm, off the middle, in a block of 48 mm."""
    voxels = np.zeros(tuple(int(48 / s) for s in spacing), dtype=np.int16)
    voxels[tuple(slice(int(a / s), int(b / s)) for a, b, s in zip((24, 9, 12), (36, 18, 27), spacing, strict=True))] = (
        value
    )
    return voxels


def test_the_input_has_the_shape_the_type_and_the_range_of_the_metadata(bundle, grid, prepare, volume):
    promised = bundle.metadata["network_data_format"]["inputs"]["image"]
    image = prepare(volume(np.random.default_rng(0).integers(0, 900, (40, 44, 15)).astype(np.int16), (1, 1, 3)))
    assert tuple(image.shape) == (promised["num_channels"], *grid)
    assert str(image.dtype) == f"torch.{promised['dtype']}"
    assert promised["value_range"][0] <= image.min() < image.max() <= promised["value_range"][1]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 3), (1.5, 1.5, 1.5), (0.75, 0.75, 3)])
def test_the_same_millimetres_take_the_same_voxels_whatever_the_spacing(bring, volume, spacing):
    region = bring(volume(_box(spacing, 1), spacing))[0]
    sizes = [len(torch.unique(place)) for place in region.nonzero().T]
    assert sizes == pytest.approx([12 / 1.5, 9 / 1.5, 15 / 1.5], abs=1.01)
    assert set(region.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR"])
def test_image_and_region_agree_where_the_lesion_is_however_the_file_is_turned(bring, prepare, volume, axes):
    straight = bring(volume(_box((1, 1, 3), 1), (1, 1, 3)))[0].bool()
    region = bring(volume(_box((1, 1, 3), 1), (1, 1, 3), axes=axes))[0].bool()
    lesion = prepare(volume(_box((1, 1, 3), 700), (1, 1, 3), axes=axes))[0] > 0.5
    assert (region & straight).sum() / (region | straight).sum() > 0.8
    assert (region & lesion).sum() / (region | lesion).sum() > 0.8
    assert (region & lesion.flip(0)).sum() / (region | lesion.flip(0)).sum() < 0.2


def test_the_prepared_image_says_its_spacing(bundle, volume):
    prepared = bundle.parser().get_parsed_content("validate#preprocessing")(
        {
            "image": str(volume(_box((1, 1, 3), 5), (1, 1, 3))),
            "label": 0,
        }
    )
    assert prepared["image"].pixdim.tolist() == pytest.approx([1.5] * 3)


def test_augmented_volumes_stay_in_range_move_their_region_along_and_repeat_with_the_seed(bundle, volume, grid):
    from fedxai.train.prepare import RegionBeside, with_regions

    file = str(volume(_box((1, 1, 3), 700), (1, 1, 3)))
    parser = bundle.parser()
    parser.set(bundle.explain.region, "brought_region")
    steps = with_regions(
        parser.get_parsed_content("train#preprocessing").transforms,
        RegionBeside(parser.get_parsed_content("brought_region")),
    )
    parser.set(type(parser.get_parsed_content("train#preprocessing"))(steps), "train#preprocessing")
    transform = parser.get_parsed_content("train#preprocessing")

    def draw(seed):
        transform.set_random_state(seed=seed)
        return [transform({"image": file, "label": 0, "region": file}) for _ in range(4)]

    drawn = draw(3)
    for item in drawn:
        image, region = torch.as_tensor(item["image"]), torch.as_tensor(item["region"]).bool()
        assert tuple(image.shape[1:]) == grid
        assert 0 <= image.min() <= image.max() <= 1
        assert ((image > 0.4) & region).sum() / ((image > 0.4) | region).sum() > 0.7
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(drawn, draw(3), strict=True))
    assert not torch.equal(drawn[0]["image"], draw(4)[0]["image"])
