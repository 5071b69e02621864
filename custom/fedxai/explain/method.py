# SPDX-License-Identifier: Apache-2.0
"""What every saliency method is, and the registry that finds it by name."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from fedxai.explain.probe import Probe
from fedxai.explain.registry import Registry


class Method(ABC):
    """A saliency method: how much each place of the input speaks for the explained class.

    Settings of a method are keyword-only arguments of its constructor, all with defaults.
    """

    name: ClassVar[str]
    needs_layer: ClassVar[bool] = False  # reads the activation of a target layer

    @abstractmethod
    def attribute(self, probe: Probe) -> Tensor:
        """The maps of a batch.

        Args:
            probe: the network and the batch; ``probe.here`` is the pass that all methods share, and
                ``probe.at(inputs)`` makes one more.

        Returns:
            ``(B, C, *spatial)`` or ``(B, 1, *spatial)`` on the grid of ``probe.inputs``.
        """


METHODS: Registry[Method] = Registry(kind="saliency method", base=Method)
