# SPDX-License-Identifier: Apache-2.0
"""FedXAI-Med: hospitals train one model together, and each sees and measures why it decides as it does.

The rooms, from the nouns upwards: ``records`` and ``settings`` (what travels, what is set), ``bundle`` (a MONAI
bundle), ``intake`` (files become a cohort), ``explain`` (a prediction becomes a map), ``privacy`` (what left),
``combine`` (many answers become one), ``report`` (what people read), ``train`` (a site improves the model),
``score`` (a map gets a number), ``flare`` (where NVIDIA FLARE calls us), ``label`` (where MONAI Label calls us),
``cli`` (where a person calls us). Nothing heavy is imported until it is used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "fedxai.bundle",
    "Cohort": "fedxai.intake.cohort",
    "FedxaiError": "fedxai.errors",
    "RunSummary": "fedxai.records",
    "SiteTrainer": "fedxai.train.engine",
    "explain_batch": "fedxai.explain",
    "score_map": "fedxai.score",
}

__all__ = ["Bundle", "Cohort", "FedxaiError", "RunSummary", "SiteTrainer", "explain_batch", "score_map"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import fedxai`` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fedxai' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
