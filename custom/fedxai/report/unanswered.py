# SPDX-License-Identifier: Apache-2.0
"""Questions to a model that had no answer, each said once with its reason."""

from collections.abc import Iterator, Sequence

from fedxai.records import Explanation, Honesty, MethodSummary
from fedxai.report.words import plural, words

_WHY = {
    "swap_kept": "it needs the image of another patient of the same size before it",
    "drop_elsewhere": "the body has no other place for the region's shape",
}


def unanswered_lines(explanation: Explanation, class_names: Sequence[str]) -> list[str]:
    """A sentence for every trust test and figure of the honesty battery that no case could answer."""
    parts = [(class_names[part.class_index], part.methods, part.honesty) for part in explanation.classes]
    if not parts:
        return list(_unknown("The honesty battery", explanation.honesty))
    lines: list[str] = []
    for name, methods, honesty in parts:
        nothing = _nothing_asked(methods)
        if nothing:
            cases = plural(nothing, "case")
            lines.append(f"{name}: no trust test could be decided, nothing is segmented as it in the {cases} asked.")
        else:
            lines += _unknown(f"{name}: the honesty battery", honesty)
    return lines


def _nothing_asked(methods: Sequence[MethodSummary]) -> int:
    """In how many cases the maps of every method were undefined, where they were in all that the tests asked about."""
    tests = [test for method in methods for test in method.trust if test.name != "localisation"]
    if not tests or any(test.value.n for test in tests):
        return 0
    return max(method.undefined.get("deletion", 0) for method in methods)


def _unknown(begin: str, honesty: Honesty | None) -> Iterator[str]:
    for name, figure in ({} if honesty is None else honesty.figures).items():
        if figure.n == 0:
            why = _WHY.get(name, "nothing of the answer is there in the cases asked")
            yield f"{begin} cannot say {words(name)!r}: {why}."
