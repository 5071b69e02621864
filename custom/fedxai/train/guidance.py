# SPDX-License-Identifier: Apache-2.0
"""Explanation-guided training: loss terms that reward a model for looking at the clinically relevant region."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import IterationEvents, SupervisedTrainer, default_prepare_batch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d, binary_cross_entropy_with_logits

from fedxai.bundle import Bundle
from fedxai.errors import BundleError
from fedxai.explain.grid import on_grid
from fedxai.explain.undisturbed import evaluating
from fedxai.settings import GuidanceSettings
from fedxai.train.occlusion_loss import occlusion_loss

_POOL = {2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
_TINY = 1e-8
_ENTROPY = 10.0


def energy_loss(logits: Tensor, labels: Tensor, image: Tensor, region: Tensor) -> Tensor:
    """``-log E_j`` with ``E_j = sum_{i in R_j} |S_i| / sum_i |S_i|``, ``S = df/dx * x``, f the label's logit.

    The gradient of this loss is a double backward pass through the network.

    Args:
        logits: ``(B, K)``, of ``image``, with their graph.
        labels: ``(B,)``.
        image: ``(B, C, *spatial)``, requires a gradient.
        region: ``(B, 1, *spatial)``, not 0 inside.

    Returns:
        ``(B,)``; 0 where the region is empty.

    Source: the energy pointing game as a loss, Rao et al. 2023, arXiv:2303.11932.
    """
    chosen = logits.gather(1, labels[:, None]).sum()
    [gradient] = torch.autograd.grad(chosen, image, create_graph=True)
    relevance = (gradient * image).sum(dim=1, keepdim=True).abs().flatten(1)
    inside = (region > 0).flatten(1)
    share = (relevance * inside).sum(dim=1) / (relevance.sum(dim=1) + _TINY)
    return (-torch.log(share + 1e-4)).where(inside.any(dim=1), 0.0)


def pseudo_region(relevance: Tensor, space: Sequence[int]) -> Tensor:
    """Where the network itself finds an image relevant: ``sigmoid(relevance) > 1/2``, no gradient.

    Args:
        relevance: logits ``(B, 1, *cells)``.
        space: size of the image.

    Returns:
        ``(B, 1, *space)``, True inside.

    Source: pseudo-labels, Lee 2013 (ICML workshop on challenges in representation learning).
    """
    return on_grid(relevance.detach(), space) > 0


def relevance_loss(relevance: Tensor, region: Tensor) -> Tensor:
    """``Dice + 10 BCE`` of ``sigmoid(relevance)`` against the region's area fraction in each cell.

    The region covers about one cell in fifty, so the mean over cells makes the BCE small; the factor brings both
    terms to one size.

    Args:
        relevance: logits ``(B, 1, *cells)``.
        region: ``(B, 1, *spatial)``, not 0 inside.

    Returns:
        ``(B,)``; 0 where the region is empty.
    """
    space = tuple(range(1, relevance.ndim))
    wanted = _POOL[relevance.ndim - 2]((region > 0).to(relevance.dtype), relevance.shape[2:])
    given = relevance.sigmoid()
    overlap = (2 * (given * wanted).sum(dim=space) + 1) / (given.sum(dim=space) + wanted.sum(dim=space) + 1)
    entropy = binary_cross_entropy_with_logits(relevance, wanted, reduction="none").mean(dim=space)
    return (1 - overlap + _ENTROPY * entropy).where(wanted.flatten(1).any(dim=1), 0.0)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a site stands in the whole training: ``done`` of ``epochs``, counted over all rounds."""

    done: int
    epochs: int


class Guidance:
    """Adds the chosen terms to a MONAI trainer's loss; cases without a region keep the plain loss.

    ``L = L_plain + sum_t lambda_t(e) * mean over the batch's cases with a region of L_t``, where lambda_t is the
    weight of term t; a region that is empty, or that augmentation moved out of the image, is none. Energy and occlusion
    come late: from ``energy_from`` and ``occlusion_from`` of all epochs on, rising linearly over a quarter of what is
    left, every ``late_every``-th step of a round, the first among them. They ask the network in evaluation mode, where
    an answer depends on its image alone. With ``pseudo_regions``, a case without a region has in these two (and there
    alone) the one that the network itself finds relevant, :func:`pseudo_region`. With ``hold_relevance`` the plain loss
    of a case without a region stops at the relevance layer (its late terms, by a pseudo-region beside cases with a
    region, do not), and a step without any region leaves alone all that the relevance is computed from: at a site
    without masks it stays as it came, bit by bit, so that the site has no part in its mean
    (:func:`fedxai.combine.weights.fedavg`) and trains what answers by that relevance.

    Args:
        settings: which terms, how strong, from when.
        network: the network that is trained.
        relevance_layer: module path of the layer whose output is the relevance logit of each cell.
        black: the lower end of the network's input range, with which the occlusion term hides.

    Raises:
        BundleError: when the ``relevance`` term is asked of a bundle that names no relevance layer, or
            ``hold_relevance`` of a network with running statistics, or, while training, when the layer's output is no
            relevance, a batch is not an image and a label, or ``hold_relevance`` leaves nothing to train.
    """

    def __init__(
        self, settings: GuidanceSettings, *, network: nn.Module, relevance_layer: str | None, black: float = 0.0
    ) -> None:
        self._settings = settings
        self._network, self._black = network, black
        self._heard: list[Tensor] = []
        self._layer: nn.Module | None = None
        self._layer_name = relevance_layer
        self._prepare_batch: Callable[..., Any] = default_prepare_batch
        self._guided = False  # whether a term was added in this step
        self._held: Tensor | None = None  # which cases of the step leave the relevance alone; None: no case
        self._still: Sequence[nn.Parameter] = ()  # what the step leaves as it is
        self._behind: list[nn.Parameter] = []  # what the relevance is computed from, once it was asked
        if "relevance" in settings.terms:
            layers = {name: module for name, module in network.named_modules() if name}
            if relevance_layer not in layers:
                raise BundleError(
                    "guidance by relevance needs relevance_layer in explain.json, a module of the network, got "
                    f"{relevance_layer!r}; choose the energy term for a network without one"
                )
            self._layer = layers[relevance_layer]
        moving = [name for name, module in network.named_modules() if getattr(module, "running_mean", None) is not None]
        if settings.hold_relevance and moving:
            raise BundleError(
                "hold_relevance needs a network without running statistics, which every step moves, got "
                f"{moving[0]!r}; choose group normalisation"
            )

    @classmethod
    def of(cls, bundle: Bundle, network: nn.Module, settings: GuidanceSettings) -> "Guidance | None":
        """The guidance of a bundle's network; None where no term is set.

        Raises:
            BundleError: when the terms ask of the bundle what it does not have.
        """
        if not settings.terms:
            return None
        if bundle.task == "segmentation":
            raise BundleError(f"guidance rewards a classifier's relevance, and bundle {bundle.name} segments")
        explain = bundle.explain
        return cls(settings, network=network, relevance_layer=explain.relevance_layer, black=explain.input_range[0])

    def attach(self, trainer: SupervisedTrainer, progress: Progress) -> Callable[[], None]:
        """Let ``trainer`` train under guidance; the batches need ``region`` and ``has_region``.

        Returns:
            What ends the listening to the network.
        """
        plain = trainer.loss_function
        self._prepare_batch, trainer.prepare_batch = trainer.prepare_batch, self._prepare
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._after_backward)

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            terms = self._terms(trainer, logits, labels, progress)
            self._guided = bool(terms)
            return plain(logits, labels).mean() + sum(terms)

        trainer.loss_function = loss
        if self._layer is None:
            return lambda: None
        handle = self._layer.register_forward_hook(self._listen)
        return handle.remove

    def _listen(self, module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim not in (4, 5) or output.shape[1] != 1:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise BundleError(f"relevance_layer {self._layer_name!r} must put out (B, 1, *cells), got {shape}")
        self._heard.append(output.float())
        if self._held is None:
            return None
        return torch.where(self._held.reshape(-1, *[1] * (output.ndim - 1)), output.detach(), output)

    def _prepare(self, batch: Any, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        prepared = self._prepare_batch(batch, device, non_blocking, **kwargs)
        if len(prepared) != 2:
            raise BundleError(f"guidance needs batches of an image and a label, prepare_batch gives {len(prepared)}")
        image, label = prepared
        if self._settings.hold_relevance:
            without = ~_with_region(batch, image)
            self._still = self._behind_relevance(image) if without.all() else ()
            self._held = without if without.any() else None
        self._heard.clear()
        return image.requires_grad_("energy" in self._settings.terms), label

    def _after_backward(self, trainer: SupervisedTrainer) -> None:
        for parameter in self._still:
            parameter.grad = None  # what has no gradient an optimiser leaves as it is, decay included
        if self._guided:
            nn.utils.clip_grad_norm_(trainer.network.parameters(), self._settings.gradient_norm)

    def _terms(self, trainer: SupervisedTrainer, logits: Tensor, labels: Tensor, progress: Progress) -> list[Tensor]:
        """What this step adds to the plain loss; nothing where no case has a region."""
        batch, terms = trainer.state.batch, []
        held, self._held = self._held, None  # the step's own pass is over
        given = _given(batch, logits)
        region = torch.as_tensor(batch["region"]).to(logits.device) > 0
        guided = _with_region(batch, logits)
        epoch = progress.done + trainer.state.epoch - 1
        if self._layer is not None and guided.any():
            values = relevance_loss(self._relevance(), region)
            terms.append(self._settings.relevance_weight * values[guided].mean())
        late = due(self._settings, epoch=epoch, epochs=progress.epochs)
        if not late or (trainer.state.iteration - 1) % self._settings.late_every:
            return terms
        if self._settings.pseudo_regions:
            own = pseudo_region(self._relevance(), region.shape[2:])
            region = torch.where(given.reshape(-1, *[1] * (region.ndim - 1)), region, own)
            guided = region.flatten(1).any(dim=1)
        if not guided.any():
            return terms
        labels, image = labels.flatten().long(), trainer.state.output["image"]
        logits = self._in_evaluation(logits, image, whole=held is None)
        if "energy" in late:
            values = energy_loss(logits, labels, image, region)
            terms.append(late["energy"] * values[guided].mean())
        if "occlusion" in late:
            asked = (part[guided] for part in (logits, labels, image, region))
            values = occlusion_loss(self._network, *asked, black=self._black)
            terms.append(late["occlusion"] * values.mean())
        return terms

    def _behind_relevance(self, image: Tensor) -> list[nn.Parameter]:
        """The parameters that the relevance is computed from: those that its gradient reaches."""
        if not self._behind:
            self._held = None
            with evaluating(self._network):
                self._network(image[:1].detach())
            parameters = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
            found = torch.autograd.grad(self._relevance().sum(), parameters, allow_unused=True)
            self._behind = [p for p, gradient in zip(parameters, found, strict=True) if gradient is not None]
            if len(self._behind) == len(parameters):
                raise BundleError(
                    f"hold_relevance needs a network in which something besides {self._layer_name!r} can learn"
                )
        return self._behind

    def _relevance(self) -> Tensor:
        """What the relevance layer put out last."""
        if not self._heard:
            raise BundleError(f"relevance_layer {self._layer_name!r} must be called by the network's forward")
        return self._heard[-1]

    def _in_evaluation(self, logits: Tensor, image: Tensor, *, whole: bool = True) -> Tensor:
        """The logits in evaluation mode: the step's own where the mode changes nothing and their graph is ``whole``."""
        with evaluating(self._network):
            with torch.no_grad():
                alike = whole and torch.allclose(self._network(image), logits, rtol=1e-4, atol=1e-5)
            return logits if alike else self._network(image)


def _given(batch: Mapping[str, Any], beside: Tensor) -> Tensor:
    """Which cases come with a region ``(B,)``, on the device of ``beside``."""
    return torch.as_tensor(batch["has_region"]).bool().flatten().to(beside.device)


def _with_region(batch: Mapping[str, Any], beside: Tensor) -> Tensor:
    """Which of them have one that is not empty."""
    inside = (torch.as_tensor(batch["region"]) > 0).flatten(1).any(dim=1)
    return _given(batch, beside) & inside.to(beside.device)


def due(settings: GuidanceSettings, *, epoch: int, epochs: int) -> dict[str, float]:
    """What each late term weighs in an epoch (from 0), without those that have not begun.

    Before its start a term weighs nothing; then its weight rises over a quarter of the rest and stays.
    """
    asked = {
        "energy": (settings.energy_from, settings.energy_weight),
        "occlusion": (settings.occlusion_from, settings.occlusion_weight),
    }
    weights = {}
    for term in settings.late:
        start, full = asked[term]
        ramp = max(1.0, (1 - start) * epochs / 4)
        weights[term] = full * min(1.0, max(0.0, (epoch + 1 - start * epochs) / ramp))
    return {term: weight for term, weight in weights.items() if weight}
