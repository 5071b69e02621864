# SPDX-License-Identifier: Apache-2.0
"""The trust verdict of a saliency method: passed, failed, undecided or not run; always shown, never hidden."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from fedxai.records import MethodSummary, TrustTest, TrustTestName

Verdict = Literal["passed", "failed", "undecided", "not run"]
MARKS: dict[Verdict, str] = {"passed": "✓", "failed": "✕", "undecided": "?", "not run": "–"}  # not by colour alone


def verdict(tests: Sequence[TrustTest]) -> Verdict:
    """``failed`` when any test failed, ``passed`` when each of the four passed, ``not run`` without any test.

    Example:
        >>> verdict([])
        'not run'
    """
    if not tests:
        return "not run"
    if any(test.outcome == "failed" for test in tests):
        return "failed"
    passed = {test.name for test in tests if test.outcome == "passed"}
    return "passed" if passed == set(get_args(TrustTestName)) else "undecided"


def verdict_of(method: MethodSummary | None) -> Verdict:
    """The verdict of a method at one site, or pooled over sites; ``not run`` where there is no such method."""
    return verdict(method.trust if method else [])


def verdict_over(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several models: ``failed`` when any failed, else what all of them have in common, else ``undecided``.

    Example:
        >>> verdict_over(["passed", "undecided"])
        'undecided'
    """
    found = set(verdicts) or {"not run"}
    if "failed" in found:
        return "failed"
    return found.pop() if len(found) == 1 else "undecided"


def failed_tests(tests: Iterable[TrustTest]) -> list[str]:
    """The names of the tests that failed, in their order."""
    return [test.name for test in tests if test.outcome == "failed"]


def with_mark(text: str, method: MethodSummary | None) -> str:
    """``SmoothGrad ✕``: what a picture names, with the mark of the method's verdict where it was tested."""
    return with_mark_of(text, verdict_of(method))


def with_mark_of(text: str, judged: Verdict) -> str:
    """A text with the mark of a verdict, where there is one."""
    return text if judged == "not run" else f"{text} {MARKS[judged]}"


def marked(judged: Verdict) -> str:
    """``✓ passed``, ``✕ failed`` ...: a mark and its word."""
    return f"{MARKS[judged]} {judged}"
