# SPDX-License-Identifier: Apache-2.0
"""What is explained: one number a case, the logit of a class or its sum over what is segmented as that class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedxai.errors import ExplanationError


@dataclass(frozen=True, kw_only=True)
class Question:
    """f, fixed at the unperturbed input and asked again at every other.

    Classification, logits ``(B, K)``: ``f(x) = z_c(x)``, c the given or the predicted class.
    Segmentation, logits ``(B, K, *cells)``: ``f(x) = sum_{p in R} z_c(x)_p``, R the places that the unperturbed
    input is segmented as c (the largest logit; with K = 1 a logit above 0), held fixed and without gradient. c is
    the given class or the most frequent class above 0 of the case. Where R is empty f is 0, and so are its maps.

    Source of the segmentation's f: Vinogradova et al. 2020, arXiv:2002.11434.
    """

    classes: Tensor  # (B,)
    region: Tensor | None = None  # (B, *cells), boolean

    @classmethod
    def about(cls, logits: Tensor, targets: Tensor | None) -> "Question":
        """The question about these classes, or about what these logits predict.

        Raises:
            ExplanationError: when a class is outside the head.
        """
        logits, heads = logits.detach(), logits.shape[1]
        if targets is not None:
            _check_classes(targets, heads)
        if logits.ndim == 2:
            return cls(classes=logits.argmax(dim=1) if targets is None else targets)
        segmented = _segmented(logits)
        classes = _most_frequent(segmented, heads) if targets is None else targets
        return cls(classes=classes, region=segmented == _along(classes, segmented))

    def fitting(self, logits: Tensor) -> "Question":
        """This question, where it can be asked of these logits.

        Raises:
            ExplanationError: when it is about another number of cases, another grid, or a class outside the head.
        """
        shape = logits.shape[:1] + logits.shape[2:]
        asked = self.classes.shape if self.region is None else self.region.shape
        if asked != shape or len(self.classes) != len(logits):
            raise ExplanationError(
                f"targets must be a question about cases and cells {tuple(shape)}, as the network answers, "
                f"got one about {tuple(asked)}"
            )
        _check_classes(self.classes, logits.shape[1])
        return self

    def of(self, logits: Tensor) -> Tensor:
        """f of each case ``(B,)``, in single precision or better; the gradient runs through it."""
        chosen = self._chosen(logits)
        chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
        if self.region is None:
            return chosen
        return chosen.where(self.region, 0.0).flatten(1).sum(dim=1)

    def probability(self, logits: Tensor) -> Tensor:
        """``p_c`` of each case ``(B,)``, in a segmentation its mean over R: what hiding voxels takes away.

        NaN where R is empty: what is not segmented cannot be lost.
        """
        shares = logits.softmax(dim=1) if logits.shape[1] > 1 else logits.sigmoid()
        chosen = self._chosen(shares)
        if self.region is None:
            return chosen
        return chosen.where(self.region, 0.0).flatten(1).sum(dim=1) / self.region.flatten(1).sum(dim=1)

    def kept(self, logits: Tensor) -> Tensor:
        """How much of the answer these logits of changed inputs still give, ``(B,)`` in [0, 1].

        Classification: 1 where c is still the predicted class, else 0. Segmentation: the Dice overlap of R with what
        is segmented as c now; NaN where R is empty.
        """
        if self.region is None:
            return (logits.argmax(dim=1) == self.classes).double()
        segmented = _segmented(logits)
        now, before = (segmented == _along(self.classes, segmented)).flatten(1), self.region.flatten(1)
        dice = 2 * (now & before).sum(dim=1).double() / (now.sum(dim=1) + before.sum(dim=1))
        return dice.where(before.any(dim=1), float("nan"))

    def of_case(self, place: int, times: int = 1) -> "Question":
        """The question about one case of the batch, asked of so many images."""
        chosen = slice(place, place + 1)
        region = None if self.region is None else self.region[chosen].expand(times, *self.region.shape[1:])
        return Question(classes=self.classes[chosen].expand(times), region=region)

    def _chosen(self, values: Tensor) -> Tensor:
        return values.take_along_dim(_along(self.classes, values), dim=1).squeeze(1)


def _check_classes(classes: Tensor, heads: int) -> None:
    outside = classes[(classes < 0) | (classes >= heads)]
    if len(outside):
        raise ExplanationError(f"targets must be class indices in 0..{heads - 1}, got {int(outside[0])}")


def _segmented(logits: Tensor) -> Tensor:
    """The class of every place ``(B, *cells)``; -1 where a single channel is not above 0."""
    return logits.argmax(dim=1) if logits.shape[1] > 1 else torch.where(logits[:, 0] > 0, 0, -1)


def _most_frequent(segmented: Tensor, heads: int) -> Tensor:
    if heads == 1:
        return torch.zeros(len(segmented), dtype=torch.long, device=segmented.device)
    found = [(segmented == label).flatten(1).sum(dim=1) for label in range(1, heads)]
    return torch.stack(found, dim=1).argmax(dim=1) + 1


def _along(classes: Tensor, like: Tensor) -> Tensor:
    return classes.view(-1, *[1] * (like.ndim - 1))
