# SPDX-License-Identifier: Apache-2.0
"""A map gets a number: scores, one file each, each with its direction, range and levels, and the trust verdict.

A new score of a map is one new file in this folder: a subclass of ``Score`` under ``@SCORES.register``; one that asks
the network again is a subclass of ``ModelScore`` under ``@MODEL_SCORES.register``.
"""

from fedxai.score.asked import Asked
from fedxai.score.model_agreement import model_agreement
from fedxai.score.model_score import MODEL_SCORES, ModelScore, score_model
from fedxai.score.one_map import centred, chance, score_map
from fedxai.score.regions import Regions
from fedxai.score.score import SCORES, Score, Seen

SCORES.discover(__name__, __path__)

__all__ = [
    "MODEL_SCORES",
    "SCORES",
    "Asked",
    "ModelScore",
    "Regions",
    "Score",
    "Seen",
    "centred",
    "chance",
    "model_agreement",
    "score_map",
    "score_model",
]
