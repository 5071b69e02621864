# SPDX-License-Identifier: Apache-2.0
"""What the alarm says of figures made by hand and drawn at random; a trained network is asked in the slow test."""

import math
import runpy

import numpy as np
import pytest
from scipy.stats import t as student

from fedxai.combine.shortcut_alarm import AlarmRule, find_shortcuts, holm
from fedxai.errors import SettingsError
from fedxai.records import Figure, PlaceSummary

NAMES = ["meningioma", "glioma", "pituitary"]
PLACES = ("region", "corner_0_0", "border_0_2", "ring", "rest")
MANY = ("corner_0_0", "corner_0_4", "border_0_1", "border_0_2", "border_0_3", "rest")
CELL = ("site-2", 1, "border_0_2")


def figure(value, half, n):
    return Figure(value=value, n=n, low=max(0.0, value - half), high=value + half)


def summary(index, border, *, patients=10, half=0.01, n=None, **others):
    shares = {"region": 0.4, "corner_0_0": 0.05, "border_0_2": border, "ring": 0.2, "rest": 0.3, **others}
    n = 2 * patients if n is None else n
    return PlaceSummary(
        class_index=index,
        n=n,
        patients=patients,
        undefined=0,
        shares={name: figure(shares[name], half, n) for name in PLACES},
        chance={name: Figure(value=0.2, n=n) for name in PLACES},
    )


def consortium(sites=4, *, share=0.1, **changes):
    """All sites and classes alike, but for one cell."""
    return {
        f"site-{k + 1}": [
            summary(c, share if (f"site-{k + 1}", c) == CELL[:2] else 0.1, **changes) for c in range(len(NAMES))
        ]
        for k in range(sites)
    }


@pytest.mark.parametrize("sites", [2, 3, 4, 8])
def test_the_site_and_class_with_the_mark_are_named(sites):
    (alarm,) = find_shortcuts(consortium(sites, share=0.6), class_names=NAMES).alarms
    assert (alarm.site, alarm.class_index, alarm.place) == CELL
    assert (alarm.share.value, alarm.expected) == (0.6, 0.1)
    assert alarm.p_adjusted < 0.01
    for words in ("site-2", "glioma", "border piece 0-2", "60.0%", "10.0%", "gallery"):
        assert words in alarm.advice
    assert alarm.advice.count(". ") == 0


@pytest.mark.parametrize("sites", [2, 4])
def test_sites_that_look_alike_raise_no_alarm(sites):
    search = find_shortcuts(consortium(sites), class_names=NAMES)
    assert search.alarms == []
    assert search.tests == sites * len(NAMES) * 3
    assert search.notes == []


def test_looking_less_at_the_border_than_others_is_no_shortcut():
    assert find_shortcuts(consortium(share=0.0), class_names=NAMES).alarms == []


def test_more_relevance_in_the_region_is_no_shortcut():
    sites = consortium()
    sites["site-2"][1] = summary(1, 0.1, region=0.9, ring=0.6)
    assert find_shortcuts(sites, class_names=NAMES).alarms == []


def test_a_certain_but_small_excess_is_no_alarm():
    sure = AlarmRule(spread=0.001, smallest_ratio=1.3)
    assert find_shortcuts(consortium(share=0.125, half=0.0005), class_names=NAMES, rule=sure).alarms == []
    assert find_shortcuts(consortium(share=0.15, half=0.0005), class_names=NAMES, rule=sure).alarms


def test_many_times_almost_nothing_is_no_alarm():
    sites = consortium(half=0.0)
    for name, summaries in sites.items():
        sites[name] = [summary(s.class_index, 0.0001, half=0.0) for s in summaries]
    sites["site-2"][1] = summary(1, 0.001, half=0.0)
    assert find_shortcuts(sites, class_names=NAMES).alarms == []


def test_shortcuts_at_one_site_for_all_classes_are_all_found():
    sites = consortium()
    sites["site-2"] = [summary(index, 0.4) for index in range(3)]
    found = {(a.site, a.class_index, a.place) for a in find_shortcuts(sites, class_names=NAMES).alarms}
    assert found == {("site-2", index, "border_0_2") for index in range(3)}


def test_sites_that_differ_anyway_need_a_larger_excess():
    rng = np.random.default_rng(0)
    sites = {
        f"site-{k}": [summary(c, 0.4 if (k, c) == (1, 1) else 0.1 * np.exp(rng.normal(0, 0.5))) for c in range(3)]
        for k in range(5)
    }
    assert find_shortcuts(sites, class_names=NAMES).alarms == []


@pytest.mark.parametrize("changes", [{"patients": 3}, {"n": 4}])
def test_too_few_cases_are_named_and_stay_silent(changes):
    sites = consortium()
    sites["site-2"][1] = summary(1, 0.9, **changes)
    search = find_shortcuts(sites, class_names=NAMES)
    assert search.alarms == []
    assert search.notes == ["site-2, glioma: not enough cases to look for a shortcut."]


def test_a_class_that_a_site_does_not_report_is_named():
    sites = consortium()
    sites["site-3"] = sites["site-3"][:2]
    search = find_shortcuts(sites, class_names=NAMES)
    assert search.notes == ["site-3, pituitary: not enough cases to look for a shortcut."]


def test_a_figure_that_was_held_back_is_not_tested():
    sites = consortium(2)
    held = {name: Figure(value=None, n=3) for name in PLACES}
    sites["site-1"] = [s.model_copy(update={"shares": held}) for s in sites["site-1"]]
    search = find_shortcuts(sites, class_names=NAMES)
    assert (search.alarms, search.tests) == ([], 0)
    assert search.notes[-1] == "No class has enough cases at two sites: not enough cases to look for shortcuts."


@pytest.mark.parametrize("sites", [{}, {"site-1": [summary(0, 0.9)]}])
def test_fewer_than_two_sites_cannot_be_compared(sites):
    search = find_shortcuts(sites, class_names=NAMES)
    assert (search.alarms, search.tests) == ([], 0)
    assert "not enough cases" in search.notes[-1]


def test_p_is_the_formula_of_the_docstring_written_out():
    """One class, three sites, in plain arithmetic; in the two other suspicious places all sites are alike."""
    shares, half, tiny = [0.1, 0.3, 0.16], 0.0392, 0.005
    sites = {f"site-{k + 1}": [summary(0, share, patients=8, half=half)] for k, share in enumerate(shares)}
    rule = AlarmRule(level=0.99, spread=0.1, spread_weight=4, negligible=tiny)
    alarm = find_shortcuts(sites, class_names=NAMES, rule=rule).alarms[0]
    m = [math.log(share + tiny) for share in shares]
    v = [(half / 1.959964 / (share + tiny)) ** 2 for share in shares]
    middle = (m[0] + m[2]) / 2
    scatter = (m[0] - middle) ** 2 + (m[2] - middle) ** 2
    w = (4 * 0.1**2 + max(0, scatter - (v[0] + v[2]) / 2)) / 5
    parts = [(v[1], 7), (v[0] / 4, 7), (v[2] / 4, 7), (1.5 * w, 5)]
    variance = sum(part for part, _ in parts)
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    p = student.sf((m[1] - middle) / math.sqrt(variance), df)
    assert alarm.site == "site-2"
    assert alarm.expected == pytest.approx(math.exp(middle) - tiny, abs=1e-4)
    assert alarm.p_adjusted == pytest.approx(9 * p, abs=1e-4)


@pytest.mark.parametrize("sites", [2, 4])
@pytest.mark.parametrize("spread", [0.0, 0.05, 0.2])
def test_honest_sites_seldom_raise_an_alarm(sites, spread):
    """100 clean consortia, 8 patients a class with skewed shares, sites that truly differ by so much."""
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(100):
        clean = {}
        for k in range(sites):
            clean[f"site-{k}"] = []
            for c in range(3):
                shares = {p: drawn_figure(rng, spread) for p in MANY}
                clean[f"site-{k}"].append(summary(c, 0, patients=8).model_copy(update={"shares": shares}))
        false += bool(find_shortcuts(clean, class_names=NAMES).alarms)
    assert false <= 5


def drawn_figure(rng, spread):
    values = rng.gamma(8, 0.01, 8) * np.exp(rng.normal(0, spread))
    return figure(values.mean(), 1.96 * values.std(ddof=1) / math.sqrt(8), 8)


def test_holm_is_the_step_down_rule_in_the_order_that_came():
    assert holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 0},
        {"smallest_ratio": 0.9},
        {"fewest_patients": 1},
        {"spread": 0},
        {"spread_weight": 0},
        {"negligible": 0},
    ],
)
def test_a_rule_without_sense_is_refused(wrong):
    with pytest.raises(SettingsError, match=r"must be"):
        AlarmRule(**wrong)


def test_a_class_without_a_name_is_refused():
    with pytest.raises(SettingsError, match="class_names must name every class"):
        find_shortcuts(consortium(), class_names=["meningioma"])


@pytest.mark.slow
def test_a_mark_at_one_site_that_a_trained_network_reads_is_found(repository, tmp_path):
    """One run of the benchmark, trained from scratch: about a minute on one core."""
    benchmark = runpy.run_path(str(repository / "benchmarks" / "shortcut_alarm.py"))
    run = benchmark["run"](100, planted=True, folder=tmp_path)
    assert run.found
    assert run.false_alarms == 0
    assert all(run.plant.site in alarm.advice and "gallery" in alarm.advice for alarm in run.search.alarms)
