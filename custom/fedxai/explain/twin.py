# SPDX-License-Identifier: Apache-2.0
"""A copy of a network, also of one that a forward pass left something in."""

import copy

from torch import Tensor, nn


def twin(network: nn.Module) -> nn.Module:
    """A copy that shares nothing; an activation that a layer kept is copied without its graph, which cannot be."""
    kept = (value for module in network.modules() for value in vars(module).values() if isinstance(value, Tensor))
    return copy.deepcopy(network, {id(value): value.detach().clone() for value in kept if not value.is_leaf})
