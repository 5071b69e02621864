# SPDX-License-Identifier: Apache-2.0
"""A job's study: the state it goes on from, if it does, and the one it leaves after every round."""

import json
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey

from fedxai.errors import SettingsError
from fedxai.flare.home import study_folder
from fedxai.flare.recorder import Recorder
from fedxai.flare.selector import ModelSelector
from fedxai.flare.state import Loaded, StudyState, StudyStore, check_same, flat
from fedxai.privacy.ledger import Ledger

Best = tuple[int, dict[str, Any]] | None  # after so many rounds, and the weights
_MAY_CHANGE = frozenset({"resume", "patience", "first_patience", "cohorts", "min_clients"})


class Study:
    """Knows what of a run is to be kept, and puts it back.

    Args:
        fl_ctx: the job's.
        name: the study's; default: the job's.
        resume: go on from an unfinished state where there is one; else begin anew and replace it.
        digest: of the server's bundle.

    Raises:
        SettingsError: when the name is none, or the state is of other settings.
        RunError: when every state is damaged.
    """

    def __init__(self, fl_ctx: FLContext, *, name: str | None, resume: bool, digest: str) -> None:
        folder = study_folder(fl_ctx, name)
        self._store = StudyStore(folder)
        self._job = str(fl_ctx.get_job_id())
        self._settings = {"bundle_digest": digest, **_settings(Path(str(fl_ctx.get_prop(FLContextKey.APP_ROOT))))}
        self._name = folder.name
        self.loaded: Loaded | None = self._store.load() if resume else None
        if self.loaded:
            check_same(self.loaded.state.settings, self._settings, study=self._name)

    @property
    def round(self) -> int:
        """Rounds that are finished."""
        return self.loaded.state.round if self.loaded else 0

    def go_on(
        self, model: ModelLearnable, recorder: Recorder, selector: ModelSelector, ledger: Ledger
    ) -> tuple[ModelLearnable, Best]:
        """The global and the best model of the state; recorder and selector are put where they stood.

        Args:
            model: what the persistor began with, replaced in its weights.
            recorder: of this run, with the sites' surveys.
            selector: of this run.
            ledger: the server's: what arrived after the state was written is counted too.

        Raises:
            SettingsError: when the sites' cohorts or the network's tensors are not what they were.
        """
        if self.loaded is None:
            return model, None
        state = self.loaded.state
        surveys = {site: survey.model_dump(mode="json") for site, survey in recorder.surveys.items()}
        check_same(flat(state.notebook["surveys"]), flat(surveys), study=self._name)
        before = model[ModelLearnableKey.WEIGHTS]
        if before.keys() != state.weights.keys():
            raise SettingsError(f"study {self._name} cannot be resumed: the network has other tensors")
        recorder.go_on(state.notebook)
        for entry in ledger.entries():
            if entry.n > state.ledger and entry.job in (state.job, self._job) and entry.site is not None:
                recorder.received(str(entry.site), entry.kind, entry.bytes, entry.case_records)
        damaged = [f"; the newer state {which} was damaged" for which in self.loaded.damaged]
        recorder.notes.append(f"The run was interrupted, and went on after round {state.round}{''.join(damaged)}.")
        selector.go_on(**state.selector)
        model[ModelLearnableKey.WEIGHTS] = {name: state.weights[name] for name in before}
        return model, None if state.best_round is None else (state.best_round, state.best)

    def keep(
        self, weights: dict[str, Any], best: Best, recorder: Recorder, selector: ModelSelector, ledger: Ledger
    ) -> None:
        """Write the state after the round that was just finished.

        Raises:
            OSError: when the disk refuses; the states before stay.
        """
        self._store.save(
            StudyState(
                round=len(recorder.rounds),
                settings=self._settings,
                weights=weights,
                best=best[1] if best else {},
                best_round=best[0] if best else None,
                selector=selector.place(),
                notebook=recorder.notebook(),
                ledger=ledger.head().count,
                job=self._job,
            )
        )

    def finish(self) -> None:
        """The run is over: nothing is left to go on with."""
        self._store.clear()


def _settings(app: Path) -> dict[str, Any]:
    """The job's configuration on both sides, flat, without what may differ when a run goes on."""
    settings: dict[str, Any] = {}
    for side in ("server", "client"):
        path = app / "config" / f"config_fed_{side}.json"
        if path.is_file():
            settings |= flat(json.loads(path.read_text(encoding="utf-8")), side)
    return {name: value for name, value in settings.items() if name.rpartition(".")[2] not in _MAY_CHANGE}
