# SPDX-License-Identifier: Apache-2.0
"""The one sentence that a refusal may say: this package's own words, without any number."""

import builtins
import re
from functools import cache
from pathlib import Path

import fedxai
from fedxai import errors

LONGEST = 300
SILENT = "the site's log says why"
_WORD = re.compile(r"[A-Za-z]+")
_SHAPE = re.compile(r"(?:[A-Za-z0-9#]++[ ,.;:'()_=<>/\[\]-]{0,3}+)*+")  # possessive: one reading, so linear in time


@cache
def own_words() -> frozenset[str]:
    """Every word, as it is written, that stands in this package's sources."""
    root = Path(fedxai.__file__).parent
    texts = (path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py")))
    return frozenset(word for text in texts for word in _WORD.findall(text))


def released_sentence(sentence: object) -> str:
    """``sentence`` where all its words are this package's, with ``#`` for every digit; else only the error's class.

    A sentence about a cohort can name its files, a message of Python anything at all: neither leaves. What is left is
    a choice among some thousand words, a few dozen of them in a message; the ledger has every one.

    Example:
        >>> released_sentence("SettingsError: threads must be at least 1, got 0")
        'SettingsError: threads must be at least #, got #'
        >>> released_sentence("ValueError: Doe^Jane")
        "ValueError: the site's log says why"
    """
    kind, _, rest = sentence.partition(": ") if type(sentence) is str else ("", "", "")
    ours = hasattr(errors, kind)
    if not ours and not _is_error(getattr(builtins, kind, None)):
        return f"ReleaseError: {SILENT}"
    words = own_words().issuperset(_WORD.findall(rest))
    if not ours or not words or len(rest) > LONGEST or kind == "CohortError" or not _SHAPE.fullmatch(rest):
        return f"{kind}: {SILENT}"
    return f"{kind}: {re.sub('[0-9]', '#', rest)}"


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
