# SPDX-License-Identifier: Apache-2.0
"""A map gets a number: scores, one file each, each with its direction, range and chance level.

A new score is one new file in this folder: a subclass of ``Score`` under ``@SCORES.register``.
"""

from fedxai.score.one_map import centred, chance, score_map
from fedxai.score.regions import Regions
from fedxai.score.score import SCORES, Score, Seen

SCORES.discover(__name__, __path__)

__all__ = ["SCORES", "Regions", "Score", "Seen", "centred", "chance", "score_map"]
