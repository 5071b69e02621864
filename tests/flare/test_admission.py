# SPDX-License-Identifier: Apache-2.0
"""What a site with its gate off sends, and what the server takes of it."""

from types import SimpleNamespace

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.private.fed.simulator.simulator_const import SimulatorConstants

from fedxai.bundle.approval import approve
from fedxai.errors import BundleError, ReleaseError
from fedxai.flare.admission import Admission, server_bundle
from fedxai.flare.asking import AskingController
from fedxai.flare.messages import summary_message, update_message
from fedxai.privacy.ledger import Ledger
from fedxai.records import CaseCounts, Evaluation, Evaluations, Figure, Holding, SiteRound, Survey
from fedxai.settings import SiteSettings

SITE = "site-1"
WEIGHTS = {"w": np.ones(4, np.float32)}
COUNTS = CaseCounts(training=20, validation=10, test=10)


def survey(bundle) -> Survey:
    return Survey(
        cases=COUNTS,
        minimum_cell=5,
        holding=Holding(case_records=40, bytes=9),
        classes=len(bundle.class_names),
        bundle_digest=bundle.digest,
    )


def update(values=1.0, *, name=SITE, cases=20, **meta):
    report = SiteRound(name=name, training_loss=0.5, validation={}, steps=1, seconds=1)
    message = update_message({"w": np.full(4, values, np.float32)}, report, cases=cases)
    message["DXO"]["meta"].update(meta)
    return message


def evaluations(**metrics):
    part = {"cases": 10, "patients": 10, "metrics": metrics, "confusion": []}
    return summary_message(
        Evaluations(validation=Evaluation(split="validation", **part), test=Evaluation(split="test", **part))
    )


@pytest.fixture
def admission(brain_bundle):
    """One that has the site's survey."""
    admission = Admission(brain_bundle, SiteSettings())
    admission.check(summary_message(survey(brain_bundle)), "survey", site=SITE, weights=None)
    return admission


def beside():
    message = update()
    message["pixels"] = [1, 2, 3]
    return message


def weights_in_a_summary():
    return DXO(DataKind.WEIGHTS, data=dict(WEIGHTS)).to_shareable()


def test_what_an_honest_site_sends_is_taken(admission):
    admission.check(update(), "train", site=SITE, weights=WEIGHTS)
    admission.check(evaluations(accuracy=Figure(value=0.5, n=10)), "validate", site=SITE, weights=None)


@pytest.mark.parametrize(
    ("message", "task", "sentence"),
    [
        (update(values=3.0), "train", "norm must be at most 2 times"),
        (update(cases=2000), "train", "as many cases as its site's survey told"),
        (update(name="site-2"), "train", "the site's name must be its own"),
        (update(pixels=[1, 2]), "train", "its cases and the figures of its round"),
        (beside(), "train", "nothing but its data exchange object"),
        (weights_in_a_summary(), "validate", "must be METRICS without meta"),
        (evaluations(patient_7=Figure(value=0.5, n=10)), "validate", "metrics must be known ones"),
        (evaluations(accuracy=Figure(value=0.5, n=10_000)), "validate", "one that the cohort can give"),
        (evaluations(accuracy=Figure(value=0.5, n=4)), "validate", "a figure must be over 5 cases or more"),
    ],
)
def test_what_a_site_without_its_gate_could_send_is_refused(admission, message, task, sentence):
    with pytest.raises(ReleaseError, match=sentence):
        admission.check(message, task, site=SITE, weights=WEIGHTS)


def test_who_never_told_its_cases_is_not_heard(admission):
    with pytest.raises(ReleaseError, match="must tell its cases before anything else"):
        admission.check(update(name="site-2"), "train", site="site-2", weights=WEIGHTS)


@pytest.mark.parametrize("cell", [0, None, "five", -1])
def test_a_site_must_tell_how_small_a_cell_it_lets_out(brain_bundle, cell):
    message = summary_message(survey(brain_bundle))
    message["DXO"]["data"]["minimum_cell"] = cell
    with pytest.raises(ReleaseError, match="and its smallest cell"):
        Admission(brain_bundle, SiteSettings()).check(message, "survey", site=SITE, weights=None)


def test_the_servers_own_policy_bounds_what_is_taken(brain_bundle):
    wide = Admission(brain_bundle, SiteSettings.model_validate({"policy": {"update_norm": 5}}))
    wide.check(summary_message(survey(brain_bundle)), "survey", site=SITE, weights=None)
    wide.check(update(values=3.0), "train", site=SITE, weights=WEIGHTS)


@pytest.fixture
def controller(brain_bundle, tmp_path, monkeypatch):
    """A controller whose server keeps its things in ``tmp_path``, and what it has noted."""
    monkeypatch.setattr("fedxai.flare.asking.server_settings", lambda _: (SiteSettings(), tmp_path))
    controller = AskingController(patience=1, first_patience=1)
    controller._ledger = Ledger(tmp_path / "ledger.jsonl")
    controller._recorder = SimpleNamespace(bundle=brain_bundle, received=lambda *_: None)
    controller._arrived(SITE, "survey", 0, summary_message(survey(brain_bundle)), FLContext())
    return controller


def test_what_is_refused_is_on_the_servers_ledger_with_its_rule(controller):
    assert controller._arrived(SITE, "train", 0, update(), FLContext(), WEIGHTS) is None
    refused = controller._arrived(SITE, "train", 1, update(values=3.0), FLContext(), WEIGHTS)
    assert "norm" in str(refused)
    entries = list(controller._ledger.entries())
    assert [(entry.decision, entry.reason) for entry in entries[1:]] == [("received", None), ("refused", "norm")]
    assert entries[-1].digest, "what was refused did arrive, so both ledgers can still be compared"


def server(tmp_path, job: str) -> SimpleNamespace:
    workspace = SimpleNamespace(get_site_config_dir=lambda: str(tmp_path))
    return SimpleNamespace(get_engine=lambda: SimpleNamespace(get_workspace=lambda: workspace), get_job_id=lambda: job)


def test_a_real_server_builds_only_networks_of_bundles_on_its_list(brain_bundle, tmp_path):
    real = server(tmp_path, "0e3d4a7c-real")
    with pytest.raises(BundleError, match="is not on this site's list of approved bundles"):
        server_bundle(brain_bundle.name, real)
    approve(brain_bundle.inspection, tmp_path / "approved_bundles.json")
    assert server_bundle(brain_bundle.name, real).digest == brain_bundle.digest


def test_the_simulators_server_takes_what_its_sites_take(brain_bundle, tmp_path):
    assert server_bundle(brain_bundle.name, server(tmp_path, SimulatorConstants.JOB_NAME)).digest == brain_bundle.digest
