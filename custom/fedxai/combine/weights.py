# SPDX-License-Identifier: Apache-2.0
"""FedAvg (Eq. 2) and the check that every update passes before it is averaged."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import UpdateError

Weights = Mapping[str, NDArray]


def fedavg(updates: Mapping[str, Weights], cases: Mapping[str, int]) -> dict[str, NDArray]:
    """The case-weighted mean of the sites' weight differences (Eq. 2).

    ``w = sum_k (n_k / n) w_k`` with w_k the difference and n_k the training cases of site k and n their sum, over the
    sites that have something to say of the tensor: one that is 0 throughout (a layer that a site held still) has no
    part in its mean, where any site's is not. Sums run in float64 and in the order of the sites' names, so that the
    result does not depend on who answered first.

    Args:
        updates: for each site, tensors by name; the same names and shapes at all sites.
        cases: for each site of ``updates``, n_k >= 1.

    Returns:
        Tensors by name, each in the dtype that came.

    Raises:
        UpdateError: when there is no update, or a site has no positive number of cases.

    Source: McMahan et al. 2017, arXiv:1602.05629.

    Example:
        >>> fedavg({"a": {"w": np.array([8.0])}, "b": {"w": np.array([4.0])}}, {"a": 3, "b": 1})["w"]
        array([7.])
    """
    if not updates:
        raise UpdateError("no update to average: no site's update was accepted")
    wrong = [site for site in updates if cases.get(site, 0) < 1]
    if wrong:
        raise UpdateError(f"{wrong[0]}: the number of training cases must be at least 1, got {cases.get(wrong[0])}")
    sites = sorted(updates)
    mean = {}
    for name, first in updates[sites[0]].items():
        moved = [site for site in sites if updates[site][name].any()] or sites
        total = sum(cases[site] for site in moved)
        tensor = sum(updates[site][name].astype(np.float64) * (cases[site] / total) for site in moved)
        mean[name] = np.asarray(tensor, dtype=first.dtype)
    return mean


def check_update(update: Weights, reference: Weights) -> None:
    """Accept only what the global model has: its float tensors' names, shapes and dtypes, all finite.

    Raises:
        UpdateError: names the first tensor that breaks the rule, without its values.
    """
    reference = {name: tensor for name, tensor in reference.items() if tensor.dtype.kind == "f"}
    missing, extra = sorted(reference.keys() - update.keys()), sorted(update.keys() - reference.keys())
    if missing or extra:
        raise UpdateError(f"update has {len(missing)} tensors missing and {len(extra)} unknown ones")
    for name, wanted in reference.items():
        tensor = update[name]
        if not isinstance(tensor, np.ndarray) or tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            got = f"{tensor.dtype} {tensor.shape}" if isinstance(tensor, np.ndarray) else type(tensor).__name__
            raise UpdateError(f"update's {name} must be {wanted.dtype} {wanted.shape}, got {got}")
        if not np.isfinite(tensor).all():
            raise UpdateError(f"update's {name} holds values that are not finite")


def global_mean(values: Mapping[str, float], cases: Mapping[str, int]) -> float:
    """The case-weighted mean over the sites that reported a value; of local losses, the global loss (Eq. 3).

    ``L(w) = sum_k (n_k / n) L_k(w)``, with n the training cases of the sites in ``values``; NaN where there are none.
    """
    total = sum(cases[site] for site in values)
    return sum(values[site] * cases[site] / total for site in sorted(values)) if total else float("nan")
