# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads of a running job, and that nobody reads it where no port is named."""

import socket
import urllib.request
from types import SimpleNamespace

import psutil
import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from prometheus_client.parser import text_string_to_metric_families

from fedxai.errors import SettingsError
from fedxai.flare.asking import AskingController
from fedxai.flare.metrics import Endpoint, RunCollector
from fedxai.flare.recorder import Recorder
from fedxai.records import CaseCounts, Figure, Holding, SiteRound, Survey
from fedxai.settings import SiteSettings


@pytest.fixture
def recorder(brain_bundle):
    """A run of two sites after one round, in which one update was taken."""
    recorder = Recorder(bundle=brain_bundle, job="j", settings={}, key_metric="accuracy")
    counts = CaseCounts(training=9, validation=9, test=9)
    survey = Survey(
        cases=counts,
        minimum_cell=5,
        holding=Holding(case_records=27, bytes=9),
        classes=4,
        bundle_digest=brain_bundle.digest,
    )
    recorder.surveys = {"site-1": survey, "site-2": survey}
    recorder.begin_round()
    figures = {"accuracy": Figure(value=0.75, n=9)}
    recorder.accepted("site-1", SiteRound(name="site-1", training_loss=1, validation=figures, steps=1, seconds=1))
    recorder.received("site-1", "update", 1000)
    recorder.received("site-1", "survey", 50)
    recorder.finish_round(0, {})
    return recorder


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }


def test_a_scrape_tells_the_round_the_sites_the_metric_the_bytes_and_the_refusals(recorder):
    endpoint = Endpoint(RunCollector(recorder, rounds=5, refused=lambda: 3), 0)
    try:
        assert scraped(endpoint.port) == {
            "fedxai_rounds_finished": 1,
            "fedxai_rounds": 5,
            "fedxai_sites": 2,
            "fedxai_sites_usable": 1,
            "fedxai_selection_metric": 0.75,
            "fedxai_refused_answers_total": 3,
            "fedxai_received_bytes_totalupdate": 1000,
            "fedxai_received_bytes_totalsurvey": 50,
        }
        [held] = [
            c for c in psutil.Process().net_connections() if c.laddr and c.laddr.port == endpoint.port and not c.raddr
        ]
        assert held.laddr.ip == "127.0.0.1"
    finally:
        endpoint.close()
    with pytest.raises(OSError, match="refused"):
        scraped(endpoint.port)


def test_a_port_that_is_taken_is_said_in_one_sentence(recorder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"metrics_port {port} cannot be opened on 127.0.0.1: "):
            Endpoint(RunCollector(recorder, rounds=1, refused=lambda: 0), port)


@pytest.mark.parametrize("asked", [False, True])
def test_it_is_closed_unless_the_servers_settings_name_a_port_and_ends_with_the_job(recorder, monkeypatch, asked):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = SiteSettings.model_validate({"metrics_port": port} if asked else {})
    monkeypatch.setattr("fedxai.flare.asking.server_settings", lambda _: (settings, None))
    controller = AskingController(patience=1, first_patience=1, num_rounds=7)
    controller._recorder, controller._engine = recorder, SimpleNamespace()
    controller._open_metrics(FLContext())
    if asked:
        assert scraped(port)["fedxai_rounds"] == 7
    else:
        assert controller._endpoint is None
    controller.handle_event(EventType.END_RUN, FLContext())
    with pytest.raises(OSError, match="refused"):
        scraped(port)
