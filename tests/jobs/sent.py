# SPDX-License-Identifier: Apache-2.0
"""What a site's answer may be made of: counts, names, rounded figures with their n, and short lists of records."""

from collections.abc import Mapping

from fedxai.figures import DECIMALS, Figure
from fedxai.score import MODEL_SCORES, SCORES
from fedxai.score.places import place_names

ALONE = {"seconds", "training_loss", "threshold"}  # numbers that are neither a count nor of a figure
COUNTS = {"confusion", "classes"}  # lists of counts
LONGEST_TABLE = max(len(place_names(2)), len((*SCORES, *MODEL_SCORES)))
LONGEST_WORD = 64


def check_sent(value: object, longest: Mapping[str, int], name: str = "", *, alone: bool = False) -> None:
    """Fail where an array could hide in an answer.

    Args:
        value: the answer as JSON holds it, or a part of it.
        longest: by field, how many entries its list may have; a list of any other field must be empty.
        name: the field.
        alone: a number with decimals may stand here.
    """
    if isinstance(value, dict):
        assert len(value) <= LONGEST_TABLE, f"{name}: {len(value)} entries"
        assert not any(key.isdigit() for key in value), f"{name}: entries by number"
        figure = value.keys() == Figure.model_fields.keys()
        for key, part in value.items():
            check_sent(part, longest, key, alone=figure or key in ALONE)
    elif isinstance(value, list):
        assert len(value) <= longest.get(name, 0), f"{name}: {len(value)} entries"
        assert name in COUNTS or all(isinstance(part, dict | str) for part in value), f"{name}: a list of numbers"
        for part in value:
            check_sent(part, longest, name)
    elif isinstance(value, float):
        assert alone, f"{name}: a number without its n"
        assert value == round(value, DECIMALS), f"{name}: {value!r} is not rounded"
    elif isinstance(value, str):
        assert len(value) <= LONGEST_WORD, f"{name}: a text of {len(value)} characters"
