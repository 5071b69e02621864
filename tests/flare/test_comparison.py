# SPDX-License-Identifier: Apache-2.0
"""The four systems, trained and tested for real on small phantom cohorts."""

import json
import shutil
from typing import get_args

import pytest

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError
from fedxai.flare.comparison import SystemsComparison
from fedxai.records import TrustTestName
from fedxai.report.comparison import write_comparison
from fedxai.settings import TrainSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compare(repository, phantom_root, explaining, little, tmp_path_factory):
    """Its job asks no costly questions: a comparison asks them itself, of every system's model alike."""
    out = tmp_path_factory.mktemp("comparison")
    job = explaining(repository / "jobs" / "fedxai", tmp_path_factory.mktemp("job"), **little)

    def make(**changes):
        settings = {
            "cohorts": phantom_root,
            "bundle": Bundle.open("brain_mri_tumor_classification"),
            "job": job,
            "rounds": 2,
            "train": TrainSettings(local_epochs=1, threads=1),
            "out": out,
        }
        return SystemsComparison(**{**settings, **changes})

    return make, out


@pytest.fixture(scope="module")
def results(compare):
    """Also where an interrupted comparison left half a run."""
    make, out = compare
    (out / "runs" / "seed0").mkdir(parents=True)
    (out / "runs" / "seed0" / "half").touch()
    return make().run(1)


def test_every_system_is_there_and_every_site_alone(results):
    found = [(result.system, result.site) for result in results.results]
    alone = [("local-only", f"site-{index}") for index in (1, 2, 3)]
    assert found == [("centralised", None), *alone, ("federated", None), ("FedXAI-Med", None)]


def test_all_are_tested_on_the_same_cases(results):
    cases = sum(counts.test for counts in results.sites.values())
    assert {result.metrics["accuracy"].n for result in results.results} == {cases}


def test_steps_are_counted_and_the_same(results):
    steps = {(result.system, result.site): result.steps for result in results.results}
    alone = sum(count for (system, _), count in steps.items() if system == "local-only")
    assert steps["federated", None] == steps["FedXAI-Med", None] == alone


def test_explaining_in_the_site_changes_no_diagnosis(results):
    by_system = {result.system: result for result in results.results}
    plain, ours = by_system["federated"], by_system["FedXAI-Med"]
    for name, figure in plain.metrics.items():
        assert ours.metrics[name].value == pytest.approx(figure.value, abs=2e-3), name


def test_every_map_of_every_system_went_through_the_trust_tests(results):
    tested = [[test.name for test in method.trust] for result in results.results for method in result.explanation]
    assert tested
    assert all(sorted(names) == sorted(get_args(TrustTestName)) for names in tested)


def test_p_is_zero_where_cases_moved_and_one_where_they_stayed(results):
    scores = {result.system: result.privacy.score for result in results.results}
    assert scores == {"centralised": 0.0, "local-only": 1.0, "federated": 1.0, "FedXAI-Med": 1.0}


def test_what_is_there_is_not_computed_again(compare, results, monkeypatch):
    make, out = compare
    monkeypatch.setattr(SystemsComparison, "_result", lambda *_, **__: pytest.fail("computed again"))
    assert make().run(1).results == results.results
    assert write_comparison(results, out).is_file()


def of_other_cases(root, folder):
    """The same sites with a case less, in a folder of the same name."""
    other = shutil.copytree(root, folder / root.name)
    datalist = next(iter(sorted(other.glob("*/dataset.json"))))
    told = json.loads(datalist.read_text(encoding="utf-8"))
    told["training"].pop()
    datalist.write_text(json.dumps(told), encoding="utf-8")
    return other


@pytest.mark.parametrize("other", ["rounds", "guidance", "cases"])
def test_a_folder_with_another_comparison_is_refused(compare, results, phantom_root, tmp_path, other):
    make, _ = compare
    weight = {"terms": [], "energy_weight": 0.3}
    change = {
        "rounds": lambda: {"rounds": 3},
        "guidance": lambda: {"train": TrainSettings(local_epochs=1, threads=1, guidance=weight)},
        "cases": lambda: {"cohorts": of_other_cases(phantom_root, tmp_path)},
    }
    with pytest.raises(SettingsError, match="comparison with other settings or cases"):
        make(**change[other]())


def test_centralised_takes_as_many_steps_as_all_sites_together(compare, tmp_path, monkeypatch):
    make, _ = compare
    monkeypatch.setattr(SystemsComparison, "_result", lambda _, system, seed, weights, steps, *rest: steps)
    train = TrainSettings(local_steps=2, batch_size=2, threads=1)
    comparison, heard = make(train=train, rounds=2, out=tmp_path), []
    assert comparison._centralised(0, heard.append) == [2 * 2 * 3]
    assert comparison._federated(0, heard.append) == [2 * 2 * 3]


def test_a_metric_that_cannot_choose_is_refused_before_anything_is_trained(compare, tmp_path):
    make, _ = compare
    with pytest.raises(SettingsError, match="key_metric must be one of macro_auc, accuracy.*got 'tea'"):
        make(key_metric="tea", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
