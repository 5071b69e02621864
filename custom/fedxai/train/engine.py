# SPDX-License-Identifier: Apache-2.0
"""A site's engine: trains, evaluates and prepares a MONAI bundle on the site's own cases."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.engines import IterationEvents
from monai.transforms import Compose
from monai.utils import set_determinism
from numpy.typing import NDArray

from fedxai.bundle import Bundle
from fedxai.errors import CohortError
from fedxai.explain import METHODS, answering
from fedxai.explain.windowed import as_inferred
from fedxai.intake.evenly import evenly
from fedxai.records import Case, Evaluation, Split
from fedxai.settings import TrainSettings
from fedxai.train.evaluation import evaluate_logits
from fedxai.train.explained_cases import Item, by_class, region_batches
from fedxai.train.guidance import Guidance, Progress
from fedxai.train.optimizer_state import OptimizerState
from fedxai.train.precision import InBfloat16
from fedxai.train.prepare import RegionBeside, as_item, as_tensor, check_cases, with_regions
from fedxai.train.segmentation import SegmentationTally
from fedxai.train.spacing import Spacing, keep_places
from fedxai.train.watch import bring_schedule, watch_losses, watch_maps

Weights = dict[str, NDArray]
_TRIED = 8  # cases among which methods are tried, until one of their sizes refuses none
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
        CohortError: when there is no case, a label is outside the bundle's classes, or classes came where the bundle
            segments, or the other way round; later, when a split that is used has no case.
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
        self._optimizer_state = OptimizerState(state_file, self.device)
        self._datasets: dict[tuple[str, Split], Any] = {}
        check_cases(self.cases, bundle)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.network = bundle.network(seed=settings.seed).to(self.device)
        self._guidance = Guidance.of(bundle, self.network, settings.guidance)

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
        parser = self._parser(epochs=rounds * self._epochs)
        self._feed(parser, "train", "training")
        trainer = parser.get_parsed_content("train#trainer")
        optimizer = parser.get_parsed_content("optimizer")
        if self.settings.keep_optimizer:
            self._optimizer_state.restore(optimizer, round_)
        bring_schedule(parser, trainer, epochs=round_ * self._epochs)
        if self.settings.mixed_precision:
            trainer.inferer = InBfloat16(trainer.inferer)
        losses = watch_losses(trainer, stop)
        if self.bundle.task == "segmentation":
            watch_maps(trainer, len(self.bundle.class_names))
        if self.settings.local_steps:
            trainer.state.epoch_length = self.settings.local_steps
        with self._guided(trainer, round_, rounds), self._without_meta():
            trainer.run()
        if self.settings.keep_optimizer:
            self._optimizer_state.keep(optimizer, round_)
        after = self.weights()
        return LocalUpdate(
            difference={name: value - weights[name] for name, value in after.items() if value.dtype.kind == "f"},
            loss=float(np.mean(losses)),
            steps=len(losses),
            seconds=time.perf_counter() - start,
        )

    @property
    def _epochs(self) -> int:
        """In a round; a set number of steps is one epoch of that length."""
        return 1 if self.settings.local_steps else self.settings.local_epochs

    @contextmanager
    def _without_meta(self) -> Iterator[None]:
        """No metadata inside the block where all cases are cached: augmentation then takes a third less time.

        What is not cached is still to be read and prepared, and that may need an image's spacing and orientation.
        """
        before = get_track_meta()
        cached = getattr(self._datasets["train", "training"], "cache_num", 0)  # a plain Dataset prepares each case anew
        set_track_meta(before and cached < self.training_cases)
        try:
            yield
        finally:
            set_track_meta(before)

    @contextmanager
    def _guided(self, trainer: Any, round_: int, rounds: int) -> Iterator[None]:
        """Train under the set guidance inside the block; plainly where none is set."""
        if self._guidance is None:
            yield
            return
        end = self._guidance.attach(trainer, Progress(done=round_ * self._epochs, epochs=rounds * self._epochs))
        try:
            yield
        finally:
            end()

    def logits(self, split: Split, weights: Mapping[str, NDArray] | None = None) -> tuple[NDArray, NDArray]:
        """Logits ``(N, K)`` and labels ``(N,)`` of a split, in the order of ``cases``; of a classification."""
        predicted, labels = [], []

        def collect(output: Mapping[str, Any]) -> None:
            predicted.append(torch.as_tensor(output["pred"]).float().cpu().numpy().copy())
            labels.append(torch.as_tensor(output["label"]).cpu().numpy().copy())

        self._validate(split, weights, collect)
        return np.concatenate(predicted), np.concatenate(labels).reshape(-1)

    def evaluate(
        self,
        split: Split,
        weights: Mapping[str, NDArray] | None = None,
        *,
        intervals: bool = True,
    ) -> Evaluation:
        """The figures of a split for the given weights (default: the network's own).

        Args:
            split: which cases.
            weights: of the network.
            intervals: of a classification; those of a segmentation cost nothing and are always there.
        """
        groups = [case.group for case in self.cases[split]]
        if self.bundle.task == "segmentation":
            parser = self.bundle.parser({"device": self.device})
            tally = SegmentationTally(self.bundle.class_names, parser.get_parsed_content("loss"))
            spacing, cases = Spacing(parser.get_parsed_content("validate#preprocessing")), iter(self.cases[split])

            def add(output: Mapping[str, Any]) -> None:
                labels = output["label"]
                tally.add(output["pred"], labels, [spacing.of(labels[i], next(cases)) for i in range(len(labels))])

            self._validate(split, weights, add)
            return tally.evaluation(groups, split=split)
        logits, labels = self.logits(split, weights)
        return evaluate_logits(logits, labels, groups, split=split, intervals=intervals)

    def _validate(
        self, split: Split, weights: Mapping[str, NDArray] | None, collect: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Give the network's answers to a split, batch by batch in the order of ``cases``, to ``collect``."""
        if weights is not None:
            self.load(weights)
        parser = self._parser()
        self._feed(parser, "validate", split)
        evaluator = parser.get_parsed_content("validate#evaluator")
        evaluator.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda engine: collect(engine.state.output))
        evaluator.run()

    @property
    def asked_network(self) -> torch.nn.Module:
        """The network as the bundle's validation asks it: over windows where that slides one over a volume."""
        return as_inferred(self.network, self.bundle.parser().get_parsed_content("validate#inferer"))

    def explanation_batches(self, split: Split, *, limit: int, batch_size: int) -> Iterator[dict[str, Any]]:
        """Prepared cases with their regions, in batches; at most ``limit`` of them, spread evenly over the split.

        Of a segmentation every case comes once for each class above 0, with the class as its label.

        Yields:
            what :func:`fedxai.train.explained_cases.region_batches` yields.
        """
        chosen = evenly(self.cases[split], limit)
        yield from region_batches(chosen, self._prepare(), batch_size=batch_size)

    def explained_images(self, split: Split, *, limit: int, root: Path) -> list[str]:
        """Of every item of :meth:`explanation_batches` in order, the image's path below the cohort's folder."""
        images = [case.image.relative_to(root).as_posix() for case in evenly(self.cases[split], limit)]
        return [image for image in images for _ in range(self.bundle.questions)]

    def background(self, methods: Sequence[str], *, apart_from: Sequence[Case] = ()) -> torch.Tensor | None:
        """Prepared training images ``(N, C, *spatial)``, N at most 16, spread over the split, to compare with.

        Where sizes differ, those of the commonest. None where no method of ``methods`` (names in the registry) compares
        with a background, or there is no training case but those of ``apart_from``, which are not compared with.
        """
        if not any(METHODS.make(name).needs_background for name in methods):
            return None
        left_out = {case.image for case in apart_from}
        others = [case for case in self.cases["training"] if case.image not in left_out]
        if not others:
            return None
        prepare = self._prepare()
        images = [as_tensor(prepare(case)[0]["image"]) for case in evenly(others, _BACKGROUND)]
        [(commonest, _)] = Counter(image.shape for image in images).most_common(1)
        return torch.stack([image for image in images if image.shape == commonest])

    def answering(
        self, methods: Sequence[str], split: Split, background: torch.Tensor | None
    ) -> tuple[list[str], dict[str, str]]:
        """The methods that can explain the network, tried on a case of each size among a few, and why others cannot."""
        images = (batch["image"] for batch in self.explanation_batches(split, limit=_TRIED, batch_size=1))
        layer = self.bundle.explain.target_layer
        return answering(self.asked_network, images, methods=methods, target_layer=layer, background=background)

    def _prepare(self) -> Callable[[Case], list[Item]]:
        """What brings a case and its region onto the network's grid, without augmentation."""
        parser = self._parser()
        keep_places(parser.config)
        transform = parser.get_parsed_content("validate#preprocessing")
        spacing, segments = Spacing(transform), self.bundle.task == "segmentation"
        beside = None if segments else RegionBeside(self._region_transform(parser))

        def prepare(case: Case) -> list[Item]:
            item = transform(as_item(case, region=beside is not None))
            item = {**item, "spacing": spacing.of(item["image"], case)}
            return [beside(item)] if beside else by_class(item, len(self.bundle.class_names))

        return prepare

    def _region_transform(self, parser: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
        parser.set(self.bundle.explain.region, "explained_region")
        return parser.get_parsed_content("explained_region")

    def _parser(self, *, epochs: int = 1) -> Any:
        """The bundle's configuration with this network and these settings."""
        settings = self.settings
        overrides: dict[str, Any] = {
            "device": self.device,
            "max_epochs": epochs,
            "network": self.network,
            "train#handlers": [],
            "validate#handlers": [],
            # figures come from the logits of the validation cases; the engines' own would cost a fifth of a step
            "train#trainer#postprocessing": None,
            "train#trainer#key_train_metric": None,
            "train#trainer#decollate": False,
            "validate#evaluator#postprocessing": None,
            "validate#evaluator#key_val_metric": None,
            "validate#evaluator#decollate": False,
            "train#trainer#max_epochs": self._epochs,
        }
        for key, value in (("batch_size", settings.batch_size), ("learning_rate", settings.learning_rate)):
            if value is not None:
                overrides[key] = value
        if self._guidance is not None:  # late terms need float32, and what is clipped must not be scaled
            overrides["train#trainer#amp"] = False
        return self.bundle.parser(overrides)

    def _feed(self, parser: Any, part: str, split: Split) -> None:
        """Give ``part``'s data set over this site's cases to the configuration.

        Prepared data is made once for each part and split and held; of how many cases of each, ``cache_cases`` bounds.
        """
        if not self.cases[split]:
            raise CohortError(f"{self.site}: the {split} split must hold at least one case, got none")
        if (part, split) not in self._datasets:
            guided = part == "train" and self._guidance is not None
            # a tuple, because MONAI's parser walks into every item of a list
            parser.set(tuple(as_item(case, region=guided) for case in self.cases[split]), f"{part}#dataset#data")
            if guided:
                steps = parser.get_parsed_content("train#preprocessing").transforms
                beside = RegionBeside(self._region_transform(parser))
                parser.set(Compose(with_regions(steps, beside)), "train#preprocessing")
            if "cache_num" in parser.get(f"{part}#dataset"):
                parser.set(self.settings.cache_cases, f"{part}#dataset#cache_num")
            self._datasets[part, split] = parser.get_parsed_content(f"{part}#dataset")
        parser.set(self._datasets[part, split], f"{part}#dataset")


def _seed(seed: int, site: str, round_: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{site}/{round_}".encode()).digest()[:4], "big")


def _device(name: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
