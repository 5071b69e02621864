# SPDX-License-Identifier: Apache-2.0
"""Agreement between sites: hand-made profiles, and what drawing cases alone makes of it."""

import numpy as np
import pytest

from fedxai.combine.site_agreement import DIRECTION, RANGE, site_agreements
from fedxai.records import Figure, PlaceSummary

PROFILE = {"region": 0.4, "ring": 0.2, "corner_0_0": 0.05, "corner_4_4": 0.05, "border_0_2": 0.1, "rest": 0.2}
CHANCE = {"region": 0.05, "ring": 0.1, "corner_0_0": 0.04, "corner_4_4": 0.04, "border_0_2": 0.07, "rest": 0.7}


def summary(profile=PROFILE, *, half=0.02, n=40, index=0, chance=CHANCE):
    return PlaceSummary(
        class_index=index,
        n=n,
        patients=n,
        undefined=0,
        shares={k: Figure(value=v, n=n, low=max(0.0, v - half), high=v + half) for k, v in profile.items()},
        chance={k: Figure(value=v, n=n) for k, v in chance.items()},
    )


def found(**sites):
    return {part.site: part for part in site_agreements({name: [one] for name, one in sites.items()})}


def test_it_says_what_it_is():
    assert (DIRECTION, RANGE) == ("higher", (0.0, 1.0))


def test_the_same_profile_agrees_and_its_interval_stays_in_range():
    for part in found(a=summary(), b=summary(), c=summary()).values():
        assert part.agreement.value == part.agreement.high == 1
        assert part.alike < 1
        assert part.chance == 1


def test_relevance_that_moved_is_counted_by_hand():
    """0.2 of the relevance went from the region to a border piece: 1 - (0.2 + 0.2) / 2."""
    moved = {**PROFILE, "region": 0.2, "border_0_2": 0.3}
    parts = found(a=summary(moved), b=summary(), c=summary())
    assert parts["a"].agreement.value == pytest.approx(0.8)
    assert parts["a"].agreement.value < parts["a"].alike
    assert parts["b"].agreement.value == pytest.approx(0.9)  # half of the others have moved


def test_corners_are_one_kind_of_place_whatever_corner_it_is():
    turned = {**PROFILE, "corner_0_0": 0.1, "corner_4_4": 0.0}
    assert found(a=summary(turned), b=summary())["a"].agreement.value == pytest.approx(1.0)


def test_the_others_count_by_their_cases():
    moved = {**PROFILE, "region": 0.2, "rest": 0.4}
    parts = found(a=summary(), b=summary(moved, n=30), c=summary(n=10))
    assert parts["a"].agreement.value == pytest.approx(1 - 0.2 * 30 / 40)
    assert parts["a"].agreement.n == 40


def test_the_interval_adds_up_what_moves_together():
    """Six places of half-widths .03 and .04 at independent sites, hypot .05, of which half counts; 2 rows: z .0125."""
    moved = {**PROFILE, "region": 0.1, "rest": 0.5}
    part = found(a=summary(moved, half=0.03), b=summary(half=0.04))["a"]
    assert part.agreement.value - part.agreement.low == pytest.approx(6 * 0.05 / 2, abs=2e-4)
    assert part.alike == pytest.approx(1 - 2.2414 / 1.96 * 6 * 0.05 / 2, abs=2e-4)


def test_chance_is_the_agreement_of_uniform_maps():
    larger = {**CHANCE, "region": 0.25, "rest": 0.5}
    part = found(a=summary(chance=larger), b=summary())["a"]
    assert (part.chance, part.agreement.value) == (pytest.approx(0.8), 1)


def drawn(rng, spread, cases=40):
    """A site whose cases differ in how much of their relevance leaves the region, for all other places at once."""
    inside = np.clip(0.5 + spread * rng.standard_normal(cases), 0, 1)[:, None]
    outside = rng.dirichlet([4, 1, 1, 2, 4], size=cases) * (1 - inside)
    shares = np.concatenate([inside, outside], axis=1)
    half = 1.96 * shares.std(axis=0, ddof=1) / np.sqrt(cases)
    one = summary(dict(zip(PROFILE, shares.mean(axis=0), strict=True)), n=cases)
    pairs = zip(one.shares.items(), half, strict=True)
    return one.model_copy(update={"shares": {k: s.model_copy(update={"high": s.value + h}) for (k, s), h in pairs}})


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_runs_of_sites_that_look_the_same_way_seldom_have_one_below_alike(spread):
    rng = np.random.default_rng(0)
    runs = [found(**{site: drawn(rng, spread) for site in "abcd"}) for _ in range(200)]
    assert sum(any(part.agreement.value < part.alike for part in run.values()) for run in runs) / 200 < 0.08


def test_a_site_that_looks_elsewhere_is_below_alike():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sites = {site: drawn(rng, 0.1) for site in "abc"}
        profile = {k: s.value for k, s in drawn(rng, 0.1).shares.items()}
        taken = 0.3 * profile["region"]
        away = {**profile, "region": profile["region"] - taken, "border_0_2": profile["border_0_2"] + taken}
        parts = found(**sites, d=summary(away))
        assert parts["d"].agreement.value < parts["d"].alike


def test_cases_without_a_region_do_not_make_a_profile_add_up_to_more_than_all():
    """They look at the border more; region, ring and rest are over the others, who look as everybody else does."""
    part = found(a=summary({**PROFILE, "border_0_2": 0.1 + 0.3}), b=summary())["a"]
    assert part.agreement.value == pytest.approx(1 - (0.3 + 0.3) / 2, abs=1e-4)


@pytest.mark.parametrize(("border", "told"), [(0.3, True), (0.55, False), (0.9, False)])
def test_a_site_whose_cases_with_a_region_look_elsewhere_has_no_profile(border, told):
    """One in three of them would be made of nothing, and its width would hide what the others do."""
    halves = {**PROFILE, "border_0_2": border}
    parts = found(a=summary(halves), b=summary(), c=summary())
    assert ("a" in parts) is told
    assert parts["b"].alike > 0.7


@pytest.mark.parametrize("gap", [{"value": None}, {"high": None}])
def test_a_profile_with_a_gap_is_left_out(gap):
    one = summary()
    held = {**one.shares, "ring": one.shares["ring"].model_copy(update=gap)}
    parts = found(a=one.model_copy(update={"shares": held}), b=summary(), c=summary())
    assert set(parts) == {"b", "c"}


def test_one_site_and_none_agree_with_nobody():
    assert site_agreements({"a": [summary()]}) == []
    assert site_agreements({}) == []
    assert site_agreements({"a": [summary(index=0)], "b": [summary(index=1)]}) == []
