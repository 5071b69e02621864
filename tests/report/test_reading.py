# SPDX-License-Identifier: Apache-2.0
"""What a report reads from a summary."""

from collections.abc import Callable

from fedxai.records import RunSummary
from fedxai.report.reading import evaluations_of, explanations_of


def test_sites_stand_in_the_order_of_their_names_and_not_of_their_answers(
    summary: RunSummary, with_models: Callable[..., RunSummary]
) -> None:
    best = summary.final[1].model_dump()
    late = {kind: dict(sorted(best[kind].items(), reverse=True)) for kind in ("evaluations", "explanations")}
    told = with_models(**late)
    assert list(told.final[1].explanations) == sorted(explanations_of(summary), reverse=True), "the answers came so"
    assert list(evaluations_of(told)) == sorted(evaluations_of(told))
    assert list(explanations_of(told)) == sorted(explanations_of(told))
