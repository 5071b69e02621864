# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.records import Figure, SiteAgreement
from fedxai.report.run_report import write_report

pytestmark = pytest.mark.usefixtures("undrawn")


def test_the_page_shows_which_site_differs(summary, with_models, tmp_path):
    parts = [
        SiteAgreement(
            site=f"site-{number + 1}",
            class_index=1,
            agreement=Figure(value=value, n=30, low=value - 0.02, high=value + 0.02),
            alike=0.93,
            chance=0.99,
        )
        for number, value in enumerate((0.97, 0.71))
    ]
    page = write_report(with_models(site_agreement=parts), tmp_path).read_text()
    assert "Does the model look alike at every site?" in page
    lines = (tmp_path / "tables" / "site_agreement.csv").read_text().splitlines()
    assert len(lines) == 3
    assert "0.71" in lines[2]
    assert lines[1].endswith("no")
    assert lines[2].endswith("yes")


def test_a_run_without_places_has_no_such_table(summary, with_models, tmp_path):
    page = write_report(with_models(site_agreement=[]), tmp_path).read_text()
    assert "look alike at every site" not in page
    assert not (tmp_path / "tables" / "site_agreement.csv").exists()
