# SPDX-License-Identifier: Apache-2.0
"""What a survey leaves to read, from a made-up survey of volumes."""

import io
import json

import pytest
import torch
from monai.bundle import ConfigParser
from rich.console import Console

from fedxai.records import BundleIdentity, CaseCounts, Figure
from fedxai.records_statistics import DataSurvey, Extent, HistogramBin, Preprocessing, SiteStatistics, Window
from fedxai.report.survey import monai_config, print_survey, write_survey

BUNDLE = BundleIdentity(name="liver", version="1", digest="a" * 64, class_names=["no <b>", "yes"])


def site(*, told: bool = True) -> SiteStatistics:
    ends = Extent(low=Figure(value=0.5, n=5), middle=Figure(value=1, n=5), high=Figure(value=2, n=5))
    nothing = Figure(value=None, n=2)
    histogram = [HistogramBin(bin=b, share=Figure(value=50, n=9)) for b in (1900, 1950)]
    return SiteStatistics(
        cases=CaseCounts(training=20 if told else 2, validation=4, test=6),
        minimum_cell=5,
        classes=[11, 9] if told else [None, None],
        histogram=histogram if told else [],
        spacing=[ends if told else Extent(low=nothing, middle=nothing, high=nothing)] * 3,
        shape=[ends if told else Extent(low=nothing, middle=nothing, high=nothing)] * 3,
    )


@pytest.fixture
def survey() -> DataSurvey:
    preprocessing = Preprocessing(window=Window(low=-100, high=300), pixdim=[1, 1, 2.5], class_weights=[0.5, 2])
    return DataSurvey(
        created="2026-11-25T18:00:00+00:00",
        bundle=BUNDLE,
        sites={"site-1": site(), "site-2": site(told=False)},
        cases=CaseCounts(training=22, validation=8, test=12),
        classes=[11, 9],
        histogram=site().histogram,
        preprocessing=preprocessing,
        notes=["site-2 told little."],
    )


def test_the_page_stands_alone_and_shows_what_was_held_back_as_a_dash(survey, tmp_path):
    page = write_survey(survey, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "No &lt;b&gt;" in page
    assert "1 (0.5–2) × 1 (0.5–2) × 1 (0.5–2)" in page
    assert "– × – × –" in page
    assert "site-2 told little." in page
    assert "data:image/png" in page
    assert DataSurvey.model_validate_json((tmp_path / "survey.json").read_text()) == survey


def test_the_proposal_is_what_monai_makes_transforms_and_weights_of(survey, tmp_path):
    write_survey(survey, tmp_path)
    config = json.loads((tmp_path / "preprocessing.json").read_text())
    config["both"] = {"_target_": "Compose", "transforms": ["@spacing", "@window"]}
    parser = ConfigParser({**config, "imports": ["$import torch"], "weight": "$torch.tensor(@class_weights)"})
    parser.parse()
    image = parser.get_parsed_content("both")({"image": torch.tensor([-200.0, -100, 100, 500]).reshape(1, 4, 1, 1)})
    assert image["image"].flatten().tolist() == [0, 0, 0.5, 1]
    assert image["image"].pixdim.tolist() == [1, 1, 2.5]
    assert parser.get_parsed_content("weight").tolist() == [0.5, 2]


def test_what_could_not_be_said_is_not_in_the_proposal():
    assert monai_config(Preprocessing(window=None, pixdim=[], class_weights=[])) == {}


def test_the_table_fits_a_terminal_and_a_survey_without_intensities_is_told_too(survey, tmp_path):
    silent = survey.model_copy(
        update={"histogram": [], "preprocessing": Preprocessing(window=None, pixdim=[], class_weights=[])}
    )
    assert "<img" not in write_survey(silent, tmp_path).read_text(encoding="utf-8")
    terminal = Console(file=io.StringIO(), width=80)
    print_survey(silent, tmp_path, console=terminal)
    text = terminal.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "Window –; spacing –; class weights –" in text
    assert "site-2 told little." in text
