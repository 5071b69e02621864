# SPDX-License-Identifier: Apache-2.0
"""The figures of a running job for Prometheus: off unless the server's own settings name a port, on loopback only."""

from collections.abc import Callable, Iterator
from typing import Any

from fedxai.combine.summaries import pooled_outgoing
from fedxai.errors import SettingsError
from fedxai.flare.recorder import Recorder

ADDRESS = "127.0.0.1"
_PREFIX = "fedxai"


class RunCollector:
    """Reads the notebook of a run when it is scraped; no figure of a site or a case is among what it tells.

    Args:
        recorder: of the run.
        rounds: how many are asked for.
        refused: how many answers were refused so far.
    """

    def __init__(self, recorder: Recorder, *, rounds: int, refused: Callable[[], int]) -> None:
        self._recorder = recorder
        self._rounds = rounds
        self._refused = refused

    def collect(self) -> Iterator[Any]:
        """What prometheus-client asks for at every scrape."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        rounds = list(self._recorder.rounds)
        told = {
            "rounds_finished": ("Federated rounds that are finished.", len(rounds)),
            "rounds": ("Federated rounds that were asked for.", self._rounds),
            "sites": ("Sites of the run.", len(self._recorder.surveys)),
            "sites_usable": ("Sites whose update was taken in the last round.", len(rounds[-1].sites) if rounds else 0),
            "selection_metric": (
                "Metric by which models are chosen, of the model that the last round began with.",
                rounds[-1].selection_metric if rounds else float("nan"),
            ),
        }
        for name, (sentence, value) in told.items():
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", sentence, value=float("nan") if value is None else value)
        yield CounterMetricFamily(f"{_PREFIX}_refused_answers", "Answers that were refused.", value=self._refused())
        received = CounterMetricFamily(f"{_PREFIX}_received_bytes", "Bytes that arrived, by kind.", labels=["kind"])
        for part in pooled_outgoing(part for parts in list(self._recorder.outgoing.values()) for part in list(parts)):
            received.add_metric([part.kind], part.bytes)
        yield received


class Endpoint:
    """Answers scrapes on a port of loopback until it is closed.

    Args:
        collector: what is told.
        port: where; 0 takes a free one.

    Raises:
        SettingsError: when prometheus-client is missing or the port is taken.
    """

    def __init__(self, collector: RunCollector, port: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise SettingsError("metrics_port needs prometheus-client; pip install fedxai-med[metrics]") from error
        registry = CollectorRegistry()
        registry.register(collector)  # pyright: ignore[reportArgumentType]  # its base class would be imported above
        try:
            self._server, self._thread = start_http_server(port, addr=ADDRESS, registry=registry)
        except OSError as error:
            raise SettingsError(f"metrics_port {port} cannot be opened on {ADDRESS}: {error.strerror}") from error

    @property
    def port(self) -> int:
        """Where it answers."""
        return self._server.server_port

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
