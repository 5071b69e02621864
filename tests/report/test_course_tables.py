# SPDX-License-Identifier: Apache-2.0
"""How a run went, site by site: what the rounds' explanations say of themselves stands in the table."""

from fedxai.records import Figure, RunSummary
from fedxai.report.course_tables import course_tables


def test_how_far_maps_agree_with_those_before_stands_where_a_site_said_it(summary: RunSummary) -> None:
    run = summary.model_dump()
    said = Figure(value=0.12, n=64)
    run["rounds"][2]["sites"][0]["explanation"]["agreement"] = said.model_dump()
    [table] = [table for table in course_tables(RunSummary.model_validate(run)) if table.name == "site_rounds"]
    found = {(row["round"], row["site"]): row["agreement"] for row in table.rows}
    assert found.pop((3, "site-1")) == said
    assert set(found.values()) == {None}
