# SPDX-License-Identifier: Apache-2.0
"""What the alarm says of figures made by hand and drawn at random; a trained network is asked in the slow test."""

import math
import runpy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import t as student
from torch import nn

from fedxai.combine.shortcut_alarm import AlarmRule, find_shortcuts, holm
from fedxai.errors import SettingsError
from fedxai.intake.phantom import make_phantom
from fedxai.records import Figure, PlaceSummary
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

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
    assert search.notes == ["site-2, glioma: not enough cases told, of it or of another class, to look for a shortcut."]


def test_a_class_that_a_site_does_not_report_is_named():
    sites = consortium()
    sites["site-3"] = sites["site-3"][:2]
    search = find_shortcuts(sites, class_names=NAMES)
    assert search.notes == [
        "site-3, pituitary: not enough cases told, of it or of another class, to look for a shortcut."
    ]


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


def test_a_place_that_few_cases_have_is_tested_with_their_freedom():
    """``rest`` is over the cases with a region: five of forty patients say no more there than five in all."""

    def few(border, patients):
        known = summary(0, 0.1, patients=patients, half=0.05)
        return known.model_copy(update={"shares": {**known.shares, "rest": figure(border, 0.05, 5)}})

    def p(patients):
        sites = {f"site-{k}": [few(0.5 if k == 2 else 0.2, patients)] for k in range(3)}
        search = find_shortcuts(sites, class_names=NAMES, rule=AlarmRule(level=0.99))
        [alarm] = [alarm for alarm in search.alarms if alarm.place == "rest"]
        return alarm.p_adjusted

    assert p(40) == pytest.approx(p(5))


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


@pytest.fixture(scope="module")
def benchmark(repository):
    return SimpleNamespace(**runpy.run_path(str(repository / "benchmarks" / "shortcut_alarm.py")))


def test_the_mark_grows_with_the_image(benchmark):
    plant = benchmark.Plant(site="site-1", class_index=0, row=3, column=64)
    assert plant.spot(128, 128) == (slice(3, 15), slice(64, 76))
    assert plant.spot(512, 256) == (slice(12, 60), slice(128, 152))


def test_given_cohorts_are_dealt_anew_and_only_read(benchmark, phantom_root, tmp_path):
    before = contents(phantom_root)
    source = benchmark.Source.cohorts(phantom_root, tmp_path / "pooled")
    drawn = [source.draw(seed, "site-1", tmp_path / str(seed)) for seed in (0, 1)]
    assert [list(cohorts) for cohorts in drawn] == [["site-1", "site-2", "site-3"]] * 2
    patients = [{case.group for case in cohorts["site-1"].cases("training")} for cohorts in drawn]
    assert patients[0] != patients[1]
    assert [sum(sum(c.counts().model_dump().values()) for c in cohorts.values()) for cohorts in drawn] == [190, 190]
    benchmark.draw_marks(drawn[0]["site-1"], benchmark.Plant(site="site-1", class_index=1, row=3, column=64))
    for case in drawn[0]["site-1"].cases("test"):
        marked = np.array(Image.open(case.image))[3:15, 64:76]
        assert (marked.min() == 255) == (case.label == 1)
    assert contents(phantom_root) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_on_given_cohorts_says_all_its_figures(benchmark, phantom_root, tmp_path):
    """Two steps teach nothing: what is found is not asked here."""
    source = replace(
        benchmark.Source.cohorts(phantom_root, tmp_path / "pooled"),
        rounds=1,
        train={"local_steps": 2, "batch_size": 4, "mixed_precision": True},
    )
    run = benchmark.run(7, planted=True, source=source, folder=tmp_path / "drawn")
    assert (run.plant.site, run.plant.class_index) == ("site-2", 1)
    assert list(run.recalls) == ["site-1", "site-2", "site-3"]
    assert 0 <= run.macro_auc <= 1
    assert run.search.tests > 0


def test_the_gallery_shows_the_mark_that_a_network_reads(benchmark, brain_bundle, tmp_path):
    cohort = make_phantom(tmp_path / "site-1", site="site-1", index=0, cases=40)
    plant = benchmark.Plant(site="site-1", class_index=2, row=3, column=64)
    benchmark.draw_marks(cohort, plant)
    site = SiteTrainer(
        bundle=brain_bundle, cases=cohort.splits(), site="site-1", settings=TrainSettings(), device="cpu"
    )
    site.network = Reader(plant.spot(96, 96))
    benchmark.write_gallery(site, tmp_path / "gallery", 40)
    marked = [case.label == 2 for case in cohort.cases("test")]
    assert any(marked)
    for index in np.flatnonzero(marked):
        shown = np.array(Image.open(tmp_path / f"gallery/cases/{index:05d}/gradient_x_input.png")).astype(float)
        colour = shown[..., 0] - shown[..., 2]  # the map's scale runs from red to yellow, over a grey image
        assert colour[plant.spot(*colour.shape)].mean() > 5 * np.abs(colour).mean()


class Reader(nn.Module):
    """Looks at one spot only: the brighter it is, the likelier class 2."""

    def __init__(self, spot):
        super().__init__()
        self.spot = spot

    def forward(self, images):
        rows, columns = self.spot
        seen = images[..., rows, columns].mean(dim=(1, 2, 3))
        return torch.stack([0 * seen, 0 * seen, seen], dim=1)


@pytest.mark.slow
def test_a_mark_at_one_site_that_a_trained_network_reads_is_found(benchmark, tmp_path):
    """One run of the benchmark, trained from scratch: about a minute on one core."""
    run = benchmark.run(100, planted=True, source=benchmark.Source.phantoms(), folder=tmp_path)
    assert run.found
    assert run.false_alarms == 0
    assert all(run.plant.site in alarm.advice and "gallery" in alarm.advice for alarm in run.search.alarms)
