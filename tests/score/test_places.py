# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import numpy as np
import pytest
import torch

from fedxai.errors import ExplanationError, SettingsError
from fedxai.records import Figure
from fedxai.score.places import Layout, PlaceTally, place_chance, place_names, place_shares

NAN = float("nan")
NAMES = place_names(2)


def slow_place(voxel, shape, region, layout):
    """The rule in words, one voxel at a time."""
    if region[voxel]:
        return "region"
    last = layout.pieces - 1
    pieces = [
        i * layout.pieces // length if length > last else round(i * last / max(1, length - 1))
        for i, length in zip(voxel, shape, strict=True)
    ]
    at_end = [piece in (0, layout.pieces - 1) for piece in pieces]
    if all(at_end):
        return "corner_" + "_".join(map(str, pieces))
    widths = [max(1, round(layout.border * length)) for length in shape]
    if any(min(i, n - 1 - i) < width for i, n, width in zip(voxel, shape, widths, strict=True)):
        return "border_" + "_".join(map(str, pieces))
    marked = zip(*np.nonzero(region), strict=True)
    if any(max(abs(a - b) for a, b in zip(voxel, other, strict=True)) <= layout.ring for other in marked):
        return "ring"
    return "rest"


@pytest.mark.parametrize("shape", [(14, 11), (9, 10, 12), (9, 10, 4), (9, 10, 1)])
@pytest.mark.parametrize("layout", [Layout(), Layout(ring=2, border=0.2, pieces=3), Layout(ring=0, border=0.1)])
def test_shares_equal_a_loop_over_voxels(shape, layout):
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 2, *shape, generator=random)
    region = torch.zeros(2, 1, *shape, dtype=torch.bool)
    region[0, 0, 3:6, 4:7] = True
    region[1, 0, :2, 5:8] = True  # reaches the border: still the region
    shares, chance = place_shares(maps, region, layout=layout), place_chance(region, layout=layout)
    assert tuple(shares) == tuple(chance) == place_names(len(shape), layout)
    for case in range(2):
        relevance = maps[case].double().sum(dim=0).abs().numpy()
        expected, area = dict.fromkeys(shares, 0.0), dict.fromkeys(shares, 0)
        for voxel in itertools.product(*map(range, shape)):
            place = slow_place(voxel, shape, region[case, 0].numpy(), layout)
            expected[place] += relevance[voxel] / relevance.sum()
            area[place] += 1
        for name in shares:
            assert shares[name][case].item() == pytest.approx(expected[name], abs=1e-9), name
            assert chance[name][case].item() == pytest.approx(area[name] / relevance.size), name


@pytest.mark.parametrize(("dims", "outer"), [(2, 4 + 12), (3, 8 + 90)])
def test_an_image_has_so_many_outer_places(dims, outer):
    names = place_names(dims)
    assert len(set(names)) == len(names) == outer + 3


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
        assert undefined == {name: [False, name in ("region", "ring")] for name in NAMES}


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


@pytest.mark.parametrize("wrong", [{"ring": -1}, {"border": 0.0}, {"border": 0.21}, {"pieces": 2}])
def test_a_layout_that_leaves_nothing_is_refused(wrong):
    with pytest.raises(SettingsError, match="ring must be >= 0, pieces >= 3 and border at most one piece"):
        Layout(**wrong)


def values(**by_place):
    length = len(next(iter(by_place.values())))
    return {name: torch.tensor(by_place.get(name, [NAN] * length)).double() for name in NAMES}


def everywhere(column):
    return {name: torch.tensor(column).double() for name in NAMES}


def tallied(shares, *, classes, groups, chance=None):
    tally = PlaceTally()
    for part in (slice(0, 1), slice(1, None)):
        tally.add(
            shares={name: share[part] for name, share in shares.items()},
            chance={name: share[part] for name, share in (chance or shares).items()},
            classes=classes[part],
            groups=groups[part],
        )
    return tally.summaries()


def test_a_class_gets_means_with_patient_level_intervals():
    shares = everywhere([0.1, 0.3, 0.2, 0.4, 0.2, 0.3])
    (summary,) = tallied(shares, classes=[2] * 6, groups=list("aabcde"), chance=values(region=[0.25] * 6))
    half = 1.959964 * math.sqrt(5 / 4 * ((-0.15 + 0.05) ** 2 + 2 * 0.05**2 + 0.15**2 + 0.05**2)) / 6
    assert (summary.class_index, summary.n, summary.patients, summary.undefined) == (2, 6, 5, 0)
    assert summary.shares["border_0_2"] == Figure(value=0.25, n=6, low=0.25 - half, high=0.25 + half)
    assert summary.chance["region"] == Figure(value=0.25, n=6)


def test_of_fewer_than_five_patients_there_is_no_interval():
    """Of two it would tell both."""
    (summary,) = tallied(everywhere([0.1, 0.3, 0.2, 0.4]), classes=[2] * 4, groups=list("aabb"))
    assert summary.shares["region"] == Figure(value=0.25, n=4)


@pytest.mark.parametrize(("groups", "told"), [("abcdefgg", False), ("abcdefgh", True)])
def test_the_rest_has_no_interval_where_it_would_tell_of_the_only_patient_without_a_region(groups, told):
    """Its shares add up to 1 with the others', so from the means of all and of those with a region they are known."""
    region = [0.1] * 6 + [NAN] * 2
    chance = values(region=[0.25] * 6 + [NAN] * 2)
    (summary,) = tallied(
        {**everywhere([0.1] * 8), "region": torch.tensor(region).double()},
        classes=[0] * 8,
        groups=list(groups),
        chance=chance,
    )
    assert (summary.shares["rest"].low is not None) is told
    assert summary.shares["border_0_2"].low is not None


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Patients of two cases that resemble each other: 15 patients a draw, 400 draws, truth 0.4."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        drawn = np.repeat(rng.uniform(0.2, 0.6, 15), 2) + rng.normal(0, 0.02, 30)
        shares = everywhere(drawn.tolist())
        figure = tallied(shares, classes=[0] * 30, groups=[str(i // 2) for i in range(30)])[0].shares["region"]
        covered += figure.low <= 0.4 <= figure.high
    assert 0.90 <= covered / 400 <= 0.97


def test_classes_are_kept_apart_and_undefined_cases_counted():
    shares = everywhere([0.2, 0.4, NAN])
    first, second = tallied(shares, classes=[1, 0, 1], groups=["a", "b", ""])
    assert (first.class_index, first.n, first.undefined, first.shares["region"].value) == (0, 1, 0, 0.4)
    assert (second.class_index, second.n, second.undefined, second.patients) == (1, 1, 1, 1)


def test_a_case_without_a_map_does_not_tell_its_regions_size():
    """Chance is over all cases, as that of the scores is: else the difference of the two would be this case's."""
    levels = everywhere([0.1, 0.2, 0.6])
    (summary,) = tallied(everywhere([0.2, 0.4, NAN]), classes=[0] * 3, groups=["a", "b", "c"], chance=levels)
    assert summary.shares["region"].n == 2
    assert (summary.chance["region"].value, summary.chance["region"].n) == (pytest.approx(0.3), 3)


def test_a_class_with_undefined_maps_only_has_no_value():
    (summary,) = tallied(everywhere([NAN, NAN]), classes=[0, 0], groups=["a", "b"])
    assert (summary.n, summary.patients, summary.undefined) == (0, 0, 2)
    assert {(share.value, share.n) for share in summary.shares.values()} == {(None, 0)}


def test_rest_is_over_cases_with_a_region_only():
    shares = values(region=[0.5, NAN], ring=[0.1, NAN], border_0_2=[0.1, 0.1], corner_0_0=[0.1, 0.1], rest=[0.2, 0.8])
    (summary,) = tallied(shares, classes=[0, 0], groups=["", ""])
    assert (summary.shares["border_0_2"].value, summary.shares["border_0_2"].n) == (0.1, 2)
    assert (summary.shares["rest"].value, summary.shares["rest"].n) == (0.2, 1)
    assert summary.patients == 2  # patients without a name are patients of their own


def test_one_class_and_patient_per_case_is_asked_for():
    shares = values(region=[0.1, 0.2])
    with pytest.raises(ExplanationError, match="one value, class and patient per case"):
        PlaceTally().add(shares=shares, chance=shares, classes=[0], groups=["a", "b"])
