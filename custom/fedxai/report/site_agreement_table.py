# SPDX-License-Identifier: Apache-2.0
"""Whether the model looks at the same kinds of places at every site: a row a site and class."""

from fedxai.records import RunSummary, SiteAgreement
from fedxai.report.reading import headline_model
from fedxai.report.tables import Cell, Column, Table
from fedxai.report.words import UNKNOWN


def site_agreement_table(summary: RunSummary) -> Table:
    """The headline model's agreement between sites; without a row where fewer than two sites said where it looks."""
    columns = (
        Column(key="site", heading="Site"),
        Column(key="class", heading="Class"),
        Column(key="agreement", heading="Agreement", kind="figure"),
        Column(key="alike", heading="Alike", kind="number"),
        Column(key="chance", heading="Chance", kind="number"),
        Column(key="differs", heading="Differs"),
    )
    model = headline_model(summary)
    names = dict(enumerate(summary.bundle.class_names))
    rows: list[dict[str, Cell]] = [
        {
            "site": part.site,
            "class": names.get(part.class_index, f"class {part.class_index}"),
            "agreement": part.agreement,
            "alike": part.alike,
            "chance": part.chance,
            "differs": _differs(part),
        }
        for part in (model.site_agreement if model else [])
    ]
    return Table(name="site_agreement", title="Does the model look alike at every site?", columns=columns, rows=rows)


def _differs(part: SiteAgreement) -> str:
    if part.agreement.value is None or part.alike is None:
        return UNKNOWN
    return "yes" if part.agreement.value < part.alike else "no"
