# SPDX-License-Identifier: Apache-2.0
"""What every saliency method is, and the registry that finds it by name."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from fedxai.errors import SettingsError
from fedxai.explain.probe import Probe
from fedxai.explain.registry import Registry


class Method(ABC):
    """A saliency method: how much each place of the input speaks for the explained class.

    Settings of a method are keyword-only arguments of its constructor, all with defaults. The map of a case
    depends neither on the other cases of its batch nor on its place among them: what is random is drawn from a
    generator of the method's own, on the CPU, once for all cases.
    """

    name: str
    needs_layer: ClassVar[bool] = False  # reads the activation of a target layer
    needs_background: bool = False  # compares with a background set of images

    @abstractmethod
    def attribute(self, probe: Probe) -> Tensor:
        """The maps of a batch.

        Args:
            probe: the network and the batch; ``probe.here`` is the pass that all methods share, ``probe.at(inputs)``
                makes one more, ``probe.logit(inputs)`` a forward without gradient.

        Returns:
            ``(B, C, *spatial)`` or ``(B, 1, *spatial)`` on the grid of ``probe.inputs``.
        """


def count(name: str, value: int, *, least: int = 1) -> int:
    """A setting that counts something.

    Raises:
        SettingsError: when it is no whole number of at least ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingsError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def number(name: str, value: float, *, most: float) -> float:
    """A setting that is a number from 0 to ``most``.

    Raises:
        SettingsError: when it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise SettingsError(f"{name} must be a number from 0 to {most:g}, got {value!r}")
    return value


METHODS: Registry[Method] = Registry(kind="saliency method", base=Method)
