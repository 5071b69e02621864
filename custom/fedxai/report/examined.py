# SPDX-License-Identifier: Apache-2.0
"""What a site's own pages and files need to know of one explained case."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from numpy.typing import ArrayLike


class Examined(Protocol):
    """One explained case, as ``fedxai.score.examine`` hands it over."""

    @property
    def index(self) -> int:
        """Its place among the explained cases."""
        ...

    @property
    def image(self) -> ArrayLike:
        """``(C, H, W)`` or ``(C, D, H, W)``."""
        ...

    @property
    def region(self) -> ArrayLike | None:
        """The clinically relevant region on the image's grid, or None."""
        ...

    @property
    def maps(self) -> Mapping[str, ArrayLike]:
        """A map a method, on the image's grid."""
        ...

    @property
    def label(self) -> int:
        """The true class."""
        ...

    @property
    def present(self) -> bool:
        """Whether the case has its class: not so where a segmentation's label map lacks it."""
        ...

    @property
    def predicted(self) -> int:
        """The class the model chose."""
        ...

    @property
    def target(self) -> int:
        """The class that is explained."""
        ...

    @property
    def probabilities(self) -> Sequence[float]:
        """One a class."""
        ...

    @property
    def scores(self) -> Mapping[str, Mapping[str, float | None]]:
        """For each method, its scores by name; None or NaN where undefined."""
        ...
