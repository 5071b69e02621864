# SPDX-License-Identifier: Apache-2.0
"""The survey's controller where sites do not answer: one sentence, and nothing written."""

from types import SimpleNamespace

import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal

from fedxai.bundle import Bundle
from fedxai.flare import asking, survey_workflow
from fedxai.flare.failure import FAILURE
from fedxai.flare.survey_workflow import SurveyController
from fedxai.intake.cohort import Cohort
from fedxai.intake.statistics import cohort_statistics


@pytest.fixture
def survey(tmp_path, monkeypatch):
    """Run the controller with these answers and failures; what it panicked with."""

    def run(answers: dict, failures: dict) -> list[str]:
        controller = SurveyController(bundle="brain_mri_tumor_classification")
        clients = [SimpleNamespace(name=name) for name in (*answers, *failures)]
        controller._engine = SimpleNamespace(get_clients=lambda: clients)
        panics: list[str] = []
        monkeypatch.setattr(asking, "run_folder", lambda fl_ctx: tmp_path)
        monkeypatch.setattr(survey_workflow, "server_bundle", lambda name, fl_ctx: Bundle.open(name))
        monkeypatch.setattr(controller, "_ask", lambda *args, **kwargs: (answers, failures))
        monkeypatch.setattr(controller, "system_panic", lambda reason, fl_ctx: panics.append(reason))
        monkeypatch.delenv("FEDXAI_COHORTS", raising=False)
        controller.control_flow(Signal(), FLContext())
        return panics

    return run


@pytest.fixture
def answer(phantom_root):
    return cohort_statistics(Cohort.open(phantom_root / "site-1"), group=5)


def test_too_few_answers_end_the_job_with_the_sites_reasons(survey, answer, tmp_path):
    [panic] = survey({"site-1": answer}, {"site-2": "CohortError: the site's log says why"})
    assert "1 sites told their statistics and 2 must (min_clients): site-2: CohortError" in panic
    assert not list(tmp_path.glob("survey.*"))


def test_sites_that_cannot_be_pooled_end_the_job(survey, answer, tmp_path):
    other = answer.model_copy(update={"shape": answer.shape[:1]})
    [panic] = survey({"site-1": answer, "site-2": other}, {})
    assert "differ in their number of axes" in panic
    assert not list(tmp_path.glob("survey.*"))


def test_enough_answers_are_written_and_the_site_that_is_missing_stays_missing(survey, answer, tmp_path):
    assert survey({"site-1": answer, "site-2": answer}, {"site-3": "no"}) == []
    assert {path.name for path in tmp_path.iterdir()} == {"survey.json", "survey.html", "preprocessing.json"}
    assert not (tmp_path / FAILURE).exists()
