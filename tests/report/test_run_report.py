# SPDX-License-Identifier: Apache-2.0
"""The run report: complete, self-contained, strict, and kept whole when writing fails."""

import io
import json
import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fedxai.errors import RunError
from fedxai.records import RunSummary
from fedxai.report.run_figures import FIGURE_NAMES
from fedxai.report.run_report import headlines, write_report
from fedxai.report.run_tables import TABLE_NAMES


class Page(HTMLParser):
    """Tags, addresses and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def refuse(number: object) -> float:
    raise AssertionError(f"{number} is not JSON")


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_folder_holds_page_summary_and_every_figure_and_table(summary: RunSummary, tmp_path: Path) -> None:
    page = write_report(summary, tmp_path / "run" / "fedxai")
    folder = tmp_path / "run" / "fedxai"
    assert page == folder / "report.html"
    assert sorted(os.listdir(folder)) == ["figures", "report.html", "summary.json", "tables"]
    assert {path.stem for path in (folder / "figures").iterdir()} == set(FIGURE_NAMES)
    absent = {"classes", "places", "baselines"}  # of a segmentation, of sites that searched, of several baselines
    assert {path.stem for path in (folder / "tables").iterdir()} == set(TABLE_NAMES) - absent
    for path in (folder / "figures").iterdir():
        with Image.open(path) as picture:
            picture.verify()


@pytest.mark.usefixtures("undrawn")
def test_summary_json_is_strict_and_reads_back(summary: RunSummary, tmp_path: Path) -> None:
    write_report(summary, tmp_path)
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    values = json.loads(text, parse_constant=refuse)
    assert RunSummary.model_validate(values) == summary
    assert {"schema_version", "bundle", "sites", "rounds", "final", "bytes", "privacy", "timing"} <= set(values)


@pytest.mark.usefixtures("undrawn")
def test_settings_that_are_not_finite_become_null(summary: RunSummary, tmp_path: Path) -> None:
    odd = summary.model_copy(update={"settings": {"learning_rate": float("nan"), "clip": float("inf")}})
    page = write_report(odd, tmp_path)
    values = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert values["settings"] == {"learning_rate": None, "clip": None}
    assert not {"nan", "inf"} & set(" ".join(read(page).text).lower().split())


def test_page_needs_nothing_but_itself(summary: RunSummary, tmp_path: Path) -> None:
    page = read(write_report(summary, tmp_path))
    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert page.handlers == []
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "url(" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.tags.count("img") == len(FIGURE_NAMES)


@pytest.mark.usefixtures("undrawn")
def test_page_says_what_matters_in_words(summary: RunSummary, tmp_path: Path) -> None:
    text = " ".join(" ".join(read(write_report(summary, tmp_path)).text).split())
    for expected in (
        "Brain MRI tumour classification",
        "No case record left a site",
        "What E says, and what it does not",
        "No E is trustworthy by itself",
        "no answer within 60 s",
        summary.bundle.digest,
        "--bundle brain_mri_tumour_classification \\ --rounds 6 \\ --local-epochs 1 \\ --seed 0 \\ --out RUN",
        "FedXAI-Med 0.1.0 · summary schema",
        "best global model (round 5)",
    ):
        assert expected in text


def lead(run: RunSummary, folder: Path) -> str:
    text = write_report(run, folder).read_text(encoding="utf-8")
    return " ".join(text.split('<p class="lead">')[1].split("</p>")[0].split())


def test_the_page_leads_with_the_sites_that_trained(
    summary: RunSummary, changed: Callable[..., RunSummary], tmp_path: Path
) -> None:
    names = [site.name for site in summary.sites]
    assert f"{len(names)} sites trained one model together in {len(summary.rounds)} rounds and" in lead(
        summary, tmp_path
    )
    rounds = [
        {**part.model_dump(), "sites": [site for site in part.sites if site.name != names[0]]}
        for part in summary.rounds
    ]
    assert lead(changed(rounds=rounds), tmp_path).startswith(f"{len(names) - 1} sites trained one model together")
    assert lead(changed(rounds=[]), tmp_path).startswith("No round of training was completed in ")


def test_a_model_that_was_given_is_not_said_to_be_trained_or_chosen(
    summary: RunSummary, changed: Callable[..., RunSummary], tmp_path: Path
) -> None:
    privacy = {**summary.privacy.model_dump(), "update_bytes": 0}
    run = changed(rounds=[], settings={**summary.settings, "rounds": 0}, privacy=privacy)
    told = lead(run, tmp_path)
    assert told.startswith(f"{len(summary.sites)} sites tested and explained a model that was given in ")
    assert told.endswith("No case record left a site; only summary figures did.")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No round was asked for." in text
    assert "How the best model was chosen" not in text


def test_headlines_are_those_of_the_best_model(summary: RunSummary) -> None:
    best = summary.final[1]
    auc, accuracy, e, p = headlines(summary)
    assert auc.value == f"{best.metrics['macro_auc'].value:.3f}"
    assert accuracy.value == f"{best.metrics['accuracy'].value:.3f}"
    method = next(m for m in best.explanation if m.method == "gradient_x_input")
    score, chance = method.scores["relevance_mass"].value, method.chance["relevance_mass"].value
    assert score is not None
    assert chance is not None
    assert e.value == f"{score:.3f}"
    assert f"{score / chance:.1f} × chance ({chance:.3f})" in e.below
    assert (p.value, p.below) == ("1.000", "0 of 2,310 case records left a site")


def test_rounding_never_hides_that_a_record_left(summary: RunSummary) -> None:
    privacy = summary.privacy.model_copy(
        update={"case_records_shared": 1, "case_records_total": 90_000, "score": 1 - 1 / 90_000}
    )
    assert headlines(summary.model_copy(update={"privacy": privacy}))[-1].value == "< 1"


@pytest.mark.usefixtures("undrawn")
def test_csv_tables_hold_the_summarys_figures(summary: RunSummary, tmp_path: Path) -> None:
    write_report(summary, tmp_path)
    best = summary.final[1]
    models = pd.read_csv(tmp_path / "tables" / "models.csv").set_index("model")
    sites = pd.read_csv(tmp_path / "tables" / "sites.csv").set_index("site")
    rounds = pd.read_csv(tmp_path / "tables" / "rounds.csv").set_index("round")
    for name, figure in best.metrics.items():
        row = models.loc["best"]
        assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == [figure.value, figure.low, figure.high]
        assert row[f"{name}_n"] == figure.n
    for name, evaluation in best.evaluations.items():
        assert sites.loc[name, "macro_auc"] == evaluation.metrics["macro_auc"].value
        method = next(m for m in best.explanations[name].methods if m.method == "gradient_x_input")
        assert sites.loc[name, "e"] == method.scores["relevance_mass"].value
        assert sites.loc[name, "e_chance"] == method.chance["relevance_mass"].value
        assert sites.loc[name, "unscored"] == method.unscored
    assert list(rounds["global_loss"]) == [part.global_loss for part in summary.rounds]
    assert list(rounds["missing"]) == [0, 0, 1, 0, 0, 0]


@pytest.mark.usefixtures("undrawn")
def test_confusion_cell_that_was_held_back_is_empty_in_csv(summary: RunSummary, tmp_path: Path) -> None:
    write_report(summary, tmp_path)
    cells = pd.read_csv(tmp_path / "tables" / "confusion.csv")
    together = cells[cells["site"] == "all sites"].set_index(["true", "predicted"])["cases"]
    assert together["meningioma", "meningioma"] == 80
    assert pd.isna(together["meningioma", "pituitary tumour"])


@pytest.mark.usefixtures("undrawn")
def test_bytes_of_kinds_and_sites_are_all_listed(summary: RunSummary, tmp_path: Path) -> None:
    write_report(summary, tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "bytes.csv")
    assert set(table["site"]) == {*(site.name for site in summary.sites), "all sites"}
    assert list(table[table["site"] == "all sites"]["bytes"]) == [part.bytes for part in summary.bytes]


def test_text_is_escaped_in_the_page_and_tamed_in_csv(summary: RunSummary, tmp_path: Path) -> None:
    attack = '<img src=x onerror="alert(1)">'
    rounds = [part.model_dump() for part in summary.rounds]
    rounds[0]["missing"] = [{"name": "site-9", "reason": f"=cmd|{attack}"}]
    bundle = {**summary.bundle.model_dump(), "class_names": [attack, "b", "c"]}
    changed = {"rounds": rounds, "notes": [attack], "bundle": bundle, "settings": {attack: attack}}
    page = read(write_report(RunSummary.model_validate({**summary.model_dump(), **changed}), tmp_path))
    assert page.handlers == []
    assert page.tags.count("img") == len(FIGURE_NAMES)
    reasons = pd.read_csv(tmp_path / "tables" / "missing.csv")["reason"]
    assert reasons[0] == f"'=cmd|{attack}"


def test_same_summary_gives_the_same_bytes(summary: RunSummary, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(summary, tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_failure_while_writing_leaves_the_old_report(
    summary: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(summary, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    real_open, opened = Path.open, []

    def full_disk(path: Path, *args: str, **kwargs: str) -> io.IOBase:
        if path.name == "report.html":
            opened.append(path)
            raise OSError(28, "No space left on device")
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full_disk)
    with pytest.raises(RunError, match="no space left on device; make room or choose another folder"):
        write_report(summary.model_copy(update={"notes": ["another run"]}), tmp_path)
    monkeypatch.undo()
    assert opened
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_what_an_earlier_report_had_and_this_one_has_not_is_gone(summary: RunSummary, tmp_path: Path) -> None:
    write_report(summary, tmp_path)
    (tmp_path / "figures" / "mine.png").write_bytes(b"a person's own file")
    write_report(summary.model_copy(update={"final": [], "sites": []}), tmp_path)
    assert not (tmp_path / "figures" / "confusion.png").exists()
    assert not (tmp_path / "tables" / "models.csv").exists()
    assert (tmp_path / "figures" / "mine.png").exists()
