# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
import torch

from fedxai.combine.intervals import group_interval
from fedxai.errors import ExplanationError, SettingsError
from fedxai.records import PLACES, Figure
from fedxai.score.places import Layout, PlaceTally, place_chance, place_shares

NAN = float("nan")
LAYOUT = Layout(ring=1, border=0.1, corner=0.2)


def slow_place(voxel, shape, region, layout):
    """The rule in words, one voxel at a time."""
    near = [
        {share: min(i, length - 1 - i) < max(1, round(share * length)) for share in (layout.border, layout.corner)}
        for i, length in zip(voxel, shape, strict=True)
    ]
    if region[voxel]:
        return "region"
    if all(axis[layout.corner] for axis in near):
        return "corners"
    if any(axis[layout.border] for axis in near):
        return "border"
    marked = zip(*np.nonzero(region), strict=True)
    if any(max(abs(a - b) for a, b in zip(voxel, other, strict=True)) <= layout.ring for other in marked):
        return "ring"
    return "rest"


@pytest.mark.parametrize("shape", [(14, 11), (9, 10, 12)])
@pytest.mark.parametrize("layout", [LAYOUT, Layout(ring=2, border=0.2, corner=0.1), Layout(ring=0)])
def test_shares_equal_a_loop_over_voxels(shape, layout):
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 2, *shape, generator=random)
    region = torch.zeros(2, 1, *shape, dtype=torch.bool)
    region[0, 0, 3:6, 4:7] = True
    region[1, 0, :2, 5:8] = True  # reaches the border: still the region
    shares, chance = place_shares(maps, region, layout=layout), place_chance(region, layout=layout)
    for case in range(2):
        relevance = maps[case].double().sum(dim=0).abs().numpy()
        expected = dict.fromkeys(PLACES, 0.0)
        area = dict.fromkeys(PLACES, 0)
        for voxel in itertools.product(*map(range, shape)):
            place = slow_place(voxel, shape, region[case, 0].numpy(), layout)
            expected[place] += relevance[voxel] / relevance.sum()
            area[place] += 1
        for name in PLACES:
            assert shares[name][case].item() == pytest.approx(expected[name], abs=1e-9), name
            assert chance[name][case].item() == pytest.approx(area[name] / relevance.size), name


@pytest.mark.parametrize("with_region", [True, False])
def test_places_cover_the_grid_once(with_region):
    region = torch.zeros(3, 1, 20, 16)
    region[:, :, 8:12, 6:10] = float(with_region)
    for values in (place_shares(torch.randn(3, 1, 20, 16), region), place_chance(region)):
        torch.testing.assert_close(torch.stack(list(values.values())).nansum(dim=0), torch.ones(3).double())


def test_a_case_without_a_region_has_no_region_and_no_ring():
    region = torch.zeros(2, 1, 20, 20)
    region[0, 0, 8:12, 8:12] = 1
    for values in (place_shares(torch.ones(2, 1, 20, 20), region), place_chance(region)):
        undefined = {name: share.isnan().tolist() for name, share in values.items()}
        assert undefined == {name: [False, name in ("region", "ring")] for name in PLACES}


def test_channels_cancel_before_anything_is_counted():
    maps = torch.ones(1, 2, 10, 10)
    maps[:, 1, :, 5:] = -1.0  # the right half sums to zero
    region = torch.zeros(1, 1, 10, 10)
    region[0, 0, 4:6, 2:4] = 1
    assert place_shares(maps, region)["region"].item() == pytest.approx(4 / 50)


@pytest.mark.parametrize("value", [0.0, NAN, float("inf")])
def test_maps_of_zeros_or_not_finite_are_undefined(value):
    region = torch.ones(2, 1, 8, 8)
    maps = torch.ones(2, 1, 8, 8)
    maps[0, 0, 3, 3] = value
    if value == 0.0:
        maps[0] = 0.0
    for share in place_shares(maps, region).values():
        assert share.isnan().tolist() == [True, False]


@pytest.mark.parametrize("scale", [1e-42, 1e300])
def test_tiny_and_huge_maps_have_shares(scale):
    region = torch.zeros(1, 1, 8, 8)
    region[0, 0, 3:5, 3:5] = 1
    shares = place_shares(torch.full((1, 1, 8, 8), scale, dtype=torch.float64), region)
    assert shares["region"].item() == pytest.approx(4 / 64)


@pytest.mark.parametrize(
    ("maps", "region"),
    [((2, 1, 8, 8), (1, 1, 8, 8)), ((1, 1, 8, 8), (1, 2, 8, 8)), ((1, 1, 8, 8), (1, 1, 8, 9)), ((1, 8, 8), (1, 8, 8))],
)
def test_shapes_that_do_not_fit_are_refused(maps, region):
    with pytest.raises(ExplanationError, match="must"):
        place_shares(torch.ones(maps), torch.ones(region))


@pytest.mark.parametrize("wrong", [{"ring": -1}, {"border": 0.0}, {"corner": 0.5}])
def test_a_layout_that_leaves_nothing_is_refused(wrong):
    with pytest.raises(SettingsError, match="border and corner between 0 and 0.5"):
        Layout(**wrong)


def values(**by_place):
    return {name: torch.tensor(by_place.get(name, [NAN] * len(by_place["border"]))).double() for name in PLACES}


def test_a_class_gets_means_with_patient_level_intervals():
    tally, groups = PlaceTally(), ["a", "a", "b", "c"]
    border = [0.1, 0.3, 0.2, 0.4]
    for part in (slice(0, 1), slice(1, 4)):
        columns = dict.fromkeys(PLACES, border[part])
        level = {name: [0.25] * len(border[part]) for name in PLACES}
        tally.add(
            shares=values(**columns), chance=values(**level), classes=[2] * len(border[part]), groups=groups[part]
        )
    (summary,) = tally.summaries(seed=3)
    numbers = np.array(border)
    low, high = group_interval(lambda index: numbers[index].mean(), groups, seed=3)
    assert (summary.class_index, summary.n, summary.patients, summary.undefined) == (2, 4, 3, 0)
    assert summary.shares["border"] == Figure(value=0.25, n=4, low=low, high=high)
    assert summary.chance["border"] == Figure(value=0.25, n=4)


def test_classes_are_kept_apart_and_undefined_cases_counted():
    tally = PlaceTally()
    shares = values(**{name: [0.2, 0.4, NAN] for name in PLACES})
    tally.add(shares=shares, chance=shares, classes=[1, 0, 1], groups=["a", "b", ""])
    first, second = tally.summaries()
    assert (first.class_index, first.n, first.undefined, first.shares["border"].value) == (0, 1, 0, 0.4)
    assert (second.class_index, second.n, second.undefined, second.patients) == (1, 1, 1, 1)


def test_rest_is_over_cases_with_a_region_only():
    tally = PlaceTally()
    shares = values(region=[0.5, NAN], ring=[0.1, NAN], border=[0.1, 0.1], corners=[0.1, 0.1], rest=[0.2, 0.8])
    tally.add(shares=shares, chance=shares, classes=[0, 0], groups=["", ""])
    (summary,) = tally.summaries()
    assert {name: (summary.shares[name].value, summary.shares[name].n) for name in ("border", "rest")} == {
        "border": (0.1, 2),
        "rest": (0.2, 1),
    }
    assert summary.patients == 2  # patients without a name are patients of their own


def test_one_class_and_patient_per_case_is_asked_for():
    shares = values(border=[0.1, 0.2])
    with pytest.raises(ExplanationError, match="one value, class and patient per case"):
        PlaceTally().add(shares=shares, chance=shares, classes=[0], groups=["a", "b"])
