# SPDX-License-Identifier: Apache-2.0
"""A site's engine: trains, evaluates and prepares a MONAI bundle on the site's own cases."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.engines import IterationEvents
from monai.transforms import Compose
from monai.utils import set_determinism
from numpy.typing import NDArray

from fedxai.bundle import Bundle
from fedxai.errors import CohortError, TrainingError
from fedxai.explain import METHODS
from fedxai.records import Case, Evaluation, Split
from fedxai.settings import TrainSettings
from fedxai.train.evaluation import evaluate_logits
from fedxai.train.guidance import Guidance, Progress
from fedxai.train.prepare import RegionBeside, as_item, as_tensor, check_labels, with_regions

Weights = dict[str, NDArray]
_BACKGROUND = 16


@dataclass(frozen=True, kw_only=True)
class LocalUpdate:
    """What one round of local training gave: the weight difference (Eq. 1) and how it went."""

    difference: Weights
    loss: float
    steps: int
    seconds: float


class SiteTrainer:
    """Trains and evaluates one bundle on one site's cases, round by round.

    A round starts from the global weights, and everything random in it follows from the seed, the site and the
    round; so a process that is started anew for every round gives what one long process gives.

    Args:
        bundle: the network, its transforms and its training configuration.
        cases: the site's cases by split.
        site: the site's name, part of the seed.
        settings: how to train in a round.
        device: ``cpu``, ``cuda`` ..., or ``auto``.
        state_file: where the optimiser's state is kept between rounds; None keeps it in memory.

    Raises:
        CohortError: when a split that is used is empty or a label is outside the bundle's classes.
        BundleError: when the guidance asks of the bundle what it does not have.
    """

    def __init__(
        self,
        *,
        bundle: Bundle,
        cases: Mapping[Split, Sequence[Case]],
        site: str,
        settings: TrainSettings,
        device: str = "auto",
        state_file: Path | None = None,
    ) -> None:
        self.bundle = bundle
        self.cases: dict[Split, list[Case]] = {split: list(listed) for split, listed in cases.items()}
        self.site = site
        self.settings = settings
        self.device = _device(device)
        self._state_file = state_file
        self._optimizer_state: dict[str, Any] | None = None
        self._datasets: dict[str, Any] = {}
        check_labels(self.cases, bundle)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.network = bundle.network(seed=settings.seed).to(self.device)
        self._guidance: Guidance | None = None
        if settings.guidance.terms:
            self._guidance = Guidance(
                settings.guidance, network=self.network, relevance_layer=bundle.explain.relevance_layer
            )

    @property
    def training_cases(self) -> int:
        """n_k of Eq. 2."""
        return len(self.cases["training"])

    def weights(self) -> Weights:
        """The network's tensors as float NumPy arrays, by name."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.network.state_dict().items()}

    def load(self, weights: Mapping[str, NDArray]) -> None:
        """Put global weights into the network."""
        state = {name: torch.as_tensor(np.asarray(value)) for name, value in weights.items()}
        self.network.load_state_dict(state)

    def train(
        self,
        weights: Mapping[str, NDArray],
        *,
        round_: int,
        rounds: int,
        stop: Callable[[], bool] = lambda: False,
    ) -> LocalUpdate:
        """One round of local training (Eq. 1): ``w_k <- w_k - eta grad L_k(w_k)`` for the set epochs or steps.

        Args:
            weights: the global weights that the round begins with.
            round_: this round, from 0; it places the learning-rate schedule.
            rounds: how many rounds there will be.
            stop: asked after every step; training ends early once it is true.

        Returns:
            The difference to ``weights``, the mean loss and the number of steps.

        Raises:
            TrainingError: when the loss is not finite.
        """
        start = time.perf_counter()
        self.load(weights)
        set_determinism(_seed(self.settings.seed, self.site, round_))
        parser = self._parser("train", "training", epochs=rounds * self.settings.local_epochs)
        trainer = parser.get_parsed_content("train#trainer")
        optimizer = parser.get_parsed_content("optimizer")
        self._restore(optimizer, round_)
        self._schedule(parser, trainer, round_)
        losses = _watch_losses(trainer, stop)
        if self.settings.local_steps:
            trainer.state.epoch_length = self.settings.local_steps
        with self._guided(trainer, round_, rounds), self._without_meta():
            trainer.run()
        self._keep(optimizer, round_)
        after = self.weights()
        return LocalUpdate(
            difference={name: value - weights[name] for name, value in after.items() if value.dtype.kind == "f"},
            loss=float(np.mean(losses)),
            steps=len(losses),
            seconds=time.perf_counter() - start,
        )

    @contextmanager
    def _without_meta(self) -> Iterator[None]:
        """No metadata inside the block where all cases are cached: augmentation then takes a third less time.

        What is not cached is still to be read and prepared, and that may need an image's spacing and orientation.
        """
        before = get_track_meta()
        cached = getattr(self._datasets["training"], "cache_num", 0)  # a plain Dataset prepares each case anew
        set_track_meta(before and cached < self.training_cases)
        try:
            yield
        finally:
            set_track_meta(before)

    @contextmanager
    def _guided(self, trainer: Any, round_: int, rounds: int) -> Iterator[None]:
        """Train under the set guidance inside the block; plainly where none is set."""
        epochs = self.settings.local_epochs
        if self._guidance is None:
            yield
            return
        end = self._guidance.attach(trainer, Progress(done=round_ * epochs, epochs=rounds * epochs))
        try:
            yield
        finally:
            end()

    def logits(self, split: Split, weights: Mapping[str, NDArray] | None = None) -> tuple[NDArray, NDArray]:
        """Logits ``(N, K)`` and labels ``(N,)`` of a split, in the order of ``cases``."""
        if weights is not None:
            self.load(weights)
        if not self.cases[split]:
            raise CohortError(f"{self.site}: the {split} split must hold at least one case, got none")
        parser = self._parser("validate", split)
        evaluator = parser.get_parsed_content("validate#evaluator")
        predicted, labels = [], []

        @evaluator.on(IterationEvents.FORWARD_COMPLETED)
        def collect(engine: Any) -> None:
            predicted.append(torch.as_tensor(engine.state.output["pred"]).float().cpu().numpy().copy())
            labels.append(torch.as_tensor(engine.state.output["label"]).cpu().numpy().copy())

        evaluator.run()
        return np.concatenate(predicted), np.concatenate(labels).reshape(-1)

    def evaluate(
        self,
        split: Split,
        weights: Mapping[str, NDArray] | None = None,
        *,
        intervals: bool = True,
    ) -> Evaluation:
        """The figures of a split for the given weights (default: the network's own)."""
        logits, labels = self.logits(split, weights)
        return evaluate_logits(
            logits,
            labels,
            [case.group for case in self.cases[split]],
            split=split,
            intervals=intervals,
        )

    def explanation_batches(self, split: Split, *, limit: int, batch_size: int) -> Iterator[dict[str, Any]]:
        """Prepared cases with their regions, in batches; at most ``limit`` of them, spread evenly over the split.

        Yields:
            ``image`` (B, C, *spatial), ``label`` (B,), ``region`` (B, 1, *spatial; zeros where there is none),
            ``has_region`` (B,), ``group`` (B names).
        """
        listed = self.cases[split]
        chosen = [listed[i] for i in np.unique(np.linspace(0, len(listed) - 1, min(limit, len(listed))).astype(int))]
        prepare = self._prepare_case(self._parser("validate", split))
        for first in range(0, len(chosen), batch_size):
            batch = [prepare(case) for case in chosen[first : first + batch_size]]
            yield {
                "image": torch.stack([as_tensor(item["image"]) for item in batch]),
                "label": torch.tensor([item["label"] for item in batch]),
                "region": torch.stack([as_tensor(item["region"]).bool() for item in batch]),
                "has_region": torch.tensor([item["has_region"] for item in batch]),
                "group": [case.group for case in chosen[first : first + batch_size]],
            }

    def background(self, methods: Sequence[str]) -> torch.Tensor | None:
        """Prepared training images ``(N, C, *spatial)``, N at most 16, spread over the split, to compare with.

        None where no method of ``methods`` (names in the registry) compares with a background.
        """
        if not any(METHODS.make(name).needs_background for name in methods):
            return None
        return next(self.explanation_batches("training", limit=_BACKGROUND, batch_size=_BACKGROUND))["image"]

    def _prepare_case(self, parser: Any) -> Callable[[Case], dict[str, Any]]:
        """What brings a case and its region onto the network's grid, without augmentation."""
        image = parser.get_parsed_content("validate#preprocessing")
        beside = RegionBeside(self._region_transform(parser))
        return lambda case: beside(image(as_item(case, region=True)))

    def _region_transform(self, parser: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
        parser.set(self.bundle.explain.region, "explained_region")
        return parser.get_parsed_content("explained_region")

    def _parser(self, part: str, split: Split, *, epochs: int = 1) -> Any:
        """The bundle's configuration with this network, and ``part``'s data set over this site's cases.

        Prepared data is made once per split and held; how much of it, ``cache_cases`` bounds.
        """
        settings = self.settings
        overrides: dict[str, Any] = {
            "device": self.device,
            "max_epochs": epochs,
            "network": self.network,
            "train#handlers": [],
            "validate#handlers": [],
            # figures come from the validation cases; the trainer's own would cost a fifth of a step
            "train#trainer#postprocessing": None,
            "train#trainer#key_train_metric": None,
            "train#trainer#decollate": False,
            "train#trainer#max_epochs": 1 if settings.local_steps else settings.local_epochs,
        }
        for key, value in (("batch_size", settings.batch_size), ("learning_rate", settings.learning_rate)):
            if value is not None:
                overrides[key] = value
        parser = self.bundle.parser(overrides)
        if split not in self._datasets:
            guided = part == "train" and self._guidance is not None
            # a tuple, because MONAI's parser walks into every item of a list
            parser.set(tuple(as_item(case, region=guided) for case in self.cases[split]), f"{part}#dataset#data")
            if guided:
                steps = parser.get_parsed_content("train#preprocessing").transforms
                beside = RegionBeside(self._region_transform(parser))
                parser.set(Compose(with_regions(steps, beside)), "train#preprocessing")
            if "cache_num" in parser.get(f"{part}#dataset"):
                parser.set(settings.cache_cases, f"{part}#dataset#cache_num")
            self._datasets[split] = parser.get_parsed_content(f"{part}#dataset")
        parser.set(self._datasets[split], f"{part}#dataset")
        return parser

    def _schedule(self, parser: Any, trainer: Any, round_: int) -> None:
        """Bring the learning-rate schedule to where this round begins, and let it step every epoch."""
        if "lr_scheduler" not in parser.config:
            return
        scheduler = parser.get_parsed_content("lr_scheduler")
        for _ in range(round_ * self.settings.local_epochs):
            scheduler.optimizer._opt_called = True  # the earlier epochs' steps were taken in earlier rounds
            scheduler.step()
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: scheduler.step())

    def _restore(self, optimizer: torch.optim.Optimizer, round_: int) -> None:
        if not self.settings.keep_optimizer or round_ == 0:
            return
        state = self._optimizer_state
        if state is None and self._state_file is not None and self._state_file.is_file():
            state = torch.load(self._state_file, map_location=self.device, weights_only=True)
        if state is not None and state["round"] == round_ - 1:
            kept = optimizer.state_dict()
            optimizer.load_state_dict({"state": state["state"], "param_groups": kept["param_groups"]})

    def _keep(self, optimizer: torch.optim.Optimizer, round_: int) -> None:
        if not self.settings.keep_optimizer:
            return
        state = {"round": round_, "state": optimizer.state_dict()["state"]}
        if self._state_file is None:
            self._optimizer_state = state
            return
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._state_file.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self._state_file)


def _watch_losses(trainer: Any, stop: Callable[[], bool]) -> list[float]:
    """Collect every step's loss; a loss that is not finite ends the round before it reaches the weights."""
    losses: list[float] = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def end_early(engine: Any) -> None:
        if stop():
            engine.terminate()

    @trainer.on(IterationEvents.LOSS_COMPLETED)
    def collect(engine: Any) -> None:
        loss = float(engine.state.output["loss"].detach())
        if not np.isfinite(loss):
            raise TrainingError(f"the training loss must be finite, got {loss} at step {len(losses) + 1} of the round")
        losses.append(loss)

    return losses


def _seed(seed: int, site: str, round_: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{site}/{round_}".encode()).digest()[:4], "big")


def _device(name: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
