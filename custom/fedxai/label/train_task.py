# SPDX-License-Identifier: Apache-2.0
"""Training from the viewer: a few epochs on the site's own cases, or a request for the next federated round."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from torch import Tensor

from fedxai.errors import ExplanationError, SettingsError
from fedxai.intake.cohort import Cohort
from fedxai.label.desk import Desk
from fedxai.records import E_SCORE, HEADLINE_METHOD
from fedxai.score.examine import examine
from fedxai.settings import ExplainSettings, GuidanceSettings, TrainSettings, checked
from fedxai.train.engine import SiteTrainer, Weights
from fedxai.whole_file import write_whole

FINE_TUNING, NEXT_ROUND = "fine_tuning", "next_federated_round"
_EXPLAINED = 32


def trainers(desk: Desk, folder: Path, cohort: Path | None) -> dict[str, TrainTask]:
    """The training actions of the list, by name; without a cohort there is nothing to tune on.

    Args:
        desk: the model and what readers said.
        folder: where tuned models, progress and requests are kept.
        cohort: the cohort that the images are of.
    """
    tuning = {FINE_TUNING: FineTuning(desk, folder, cohort)} if cohort else {}
    return {**tuning, NEXT_ROUND: NextRound(desk, folder)}


class FineTuning(TrainTask):
    """Trains the served model on the site's cohort; the tuned model is exported beside the app, not served by itself.

    What is served stays the federation's model until somebody names the tuned one with ``--model``.
    """

    def __init__(self, desk: Desk, folder: Path, cohort: Path) -> None:
        super().__init__("A few epochs on this site's own cases; the result stays here")
        self._desk, self._folder, self._cohort = desk, folder, cohort

    def config(self) -> dict[str, Any]:
        """The settings that viewers offer."""
        return {"max_epochs": 1, "guidance": ["none", "energy", "occlusion", "relevance"]}

    def stats(self) -> dict[str, Any]:
        """How far the last training came; kept in a file, because it runs in a process of its own."""
        return _read(self._folder / "fine_tuning.json")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Any:
        """See MONAI Label.

        Args:
            request: ``max_epochs``, at least 1, and ``guidance``: ``energy``, ``occlusion``,
                ``relevance`` or ``none``.
            datastore: the images; the cohort has them with their classes and regions (``fedxai label export``).

        Raises:
            FedxaiError: a setting breaks its rule, or the cohort does not fit the model.
        """
        del datastore
        epochs = _epochs(request.get("max_epochs", 1))
        served = self._desk.served()
        cohort = Cohort.open(self._cohort)
        trainer = SiteTrainer(
            bundle=served.bundle,
            cases=cohort.splits(),
            site=f"{cohort.folder.name}-desk",
            settings=checked(TrainSettings, {"guidance": _guidance(request.get("guidance"))}, what="train"),
            device=str(served.device),
        )
        weights: Weights = served.weights()
        before = _figures(trainer, weights)
        told: dict[str, Any] = {"model": served.identity, "epochs": epochs, "before": before}
        for epoch in range(epochs):
            update = trainer.train(weights, round_=epoch, rounds=epochs)
            weights = {name: value + update.difference.get(name, 0) for name, value in weights.items()}
            self._tell({**told, "epoch": epoch + 1, "loss": update.loss})
            print(f"epoch {epoch + 1}/{epochs}: loss {update.loss:.4f}", flush=True)
        exported = served.bundle.export(self._folder / FINE_TUNING, weights)
        done = {**told, "epoch": epochs, "after": _figures(trainer, weights), "tuned": exported.name}
        self._tell(done)
        return done

    def _tell(self, progress: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / "fine_tuning.json", json.dumps(progress, indent=1).encode())


class NextRound(TrainTask):
    """Asks for the next federated round, which the federation starts: a site cannot; and says when it was answered."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        super().__init__("Ask the federation for its next round with what was drawn here")
        self._desk, self._file = desk, folder / "next_round.json"

    def stats(self) -> dict[str, Any]:
        """The last request, and whether another model is served since."""
        asked = _read(self._file)
        return asked and {**asked, "answered": asked["weights"] != self._desk.served().digest}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Any:
        """See MONAI Label: leaves the request beside the app, for the site engineer."""
        del request, datastore
        feedback = self._desk.feedback
        said = [feedback.opinions(image) for image in feedback.images()]
        asked = {
            "requested": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "weights": self._desk.served().digest,
            "images": len(said),
            "drawn": sum(any(opinion.drawing for opinion in opinions) for opinions in said),
            "then": "fedxai label export STUDIES COHORT, then the consortium submits jobs/fedxai",
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, json.dumps(asked, indent=1).encode())
        return asked


def _asked(trainer: SiteTrainer) -> tuple[str, Tensor | None]:
    """The method whose E a run reports, else the bundle's first that can explain this network; and its background.

    Raises:
        ExplanationError: none of them can.
    """
    with suppress(ExplanationError):
        trainer.answering([HEADLINE_METHOD], "validation", None)
        return HEADLINE_METHOD, None
    methods = trainer.bundle.explain.methods
    background = trainer.background(methods)
    able, _ = trainer.answering(methods, "validation", background)
    return able[0], background


def _figures(trainer: SiteTrainer, weights: Weights) -> dict[str, float | str | None]:
    """Accuracy (of a segmentation, Dice) and E of the validation cases, with the method that E is of."""
    metrics = trainer.evaluate("validation", weights, intervals=False).metrics
    names = ("accuracy", "macro_auc", "mean_dice")
    method, background = _asked(trainer)
    together = ExplainSettings().batch_size  # pyright: ignore[reportCallIssue]
    explained = examine(
        trainer.asked_network,
        trainer.explanation_batches("validation", limit=_EXPLAINED, batch_size=together),
        split="validation",
        methods=[method],
        background=background,
        **trainer.bundle.question,
    )
    e = explained.methods[0].scores[E_SCORE].value
    return {**{name: metrics[name].value for name in names if name in metrics}, "E": e, "method": method}


def _epochs(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= 1000:
        raise SettingsError(f"max_epochs must be a whole number from 1 to 1000, got {given!r}")
    return given


def _guidance(given: Any) -> dict[str, Any]:
    """The term that is asked for; viewers send the chosen one, clients without a choice the whole list."""
    term = given[0] if isinstance(given, list) and given else given
    return checked(
        GuidanceSettings, {} if term in (None, "", "none") else {"terms": (term,)}, what="guidance"
    ).model_dump()


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes()) if file.is_file() else {}
