# SPDX-License-Identifier: Apache-2.0
"""`jobs/survey` through FLARE's simulator, as people start it, against the cohorts themselves."""

import json
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedxai.bundle import Bundle
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.pixels import read_image
from fedxai.privacy.ledger import Ledger
from fedxai.records import SPLITS
from fedxai.records_statistics import BINS, DataSurvey
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

pytestmark = pytest.mark.slow
check_sent = runpy.run_path(str(Path(__file__).with_name("sent.py")))["check_sent"]
BUNDLE = "brain_mri_tumor_classification"


@pytest.fixture(scope="module")
def surveyed(repository, tmp_path_factory) -> tuple[Path, Path]:
    """Three small cohorts, and the folder of the survey of them."""
    from fedxai.intake.phantom import make_phantom

    root = tmp_path_factory.mktemp("survey")
    for index, cases in enumerate((40, 30, 24)):
        make_phantom(root / "cohorts" / f"site-{index + 1}", site=f"site-{index + 1}", index=index, cases=cases)
    fedxai = Path(sys.executable).with_name("fedxai")
    command = [fedxai, "survey", repository / "jobs" / "survey", "--cohorts", root / "cohorts", "--out", root / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all sites" in done.stdout
    return root / "cohorts", root / "out"


@pytest.fixture(scope="module")
def results(surveyed) -> Path:
    return surveyed[1] / "server" / "simulate_job" / "fedxai"


@pytest.fixture(scope="module")
def survey(results) -> DataSurvey:
    return DataSurvey.model_validate_json((results / "survey.json").read_text())


def test_the_counts_are_those_of_the_cohorts(surveyed, survey):
    cohorts = {site: Cohort.open(path) for site, path in site_cohorts(surveyed[0]).items()}
    assert {site: told.cases for site, told in survey.sites.items()} == {s: c.counts() for s, c in cohorts.items()}
    for split in SPLITS:
        assert getattr(survey.cases, split) == sum(len(cohort.cases(split)) for cohort in cohorts.values())
    by_hand = {site: Counter(case.label for case in cohort.cases("training")) for site, cohort in cohorts.items()}
    for site, told in survey.sites.items():
        whole = [by_hand[site][index] for index in range(3)]
        assert told.classes == (whole if min(whole) >= 5 else [None] * 3)
    told_whole = [site for site, told in survey.sites.items() if None not in told.classes]
    assert len(told_whole) == 2, "a site with four cases a class holds them back"
    assert survey.classes == [sum(by_hand[site][index] for site in told_whole) for index in range(3)]


def test_the_window_is_numpys_percentiles_of_all_training_images(surveyed, survey):
    images = [
        read_image(case.image, what="image")
        for path in site_cohorts(surveyed[0]).values()
        for case in Cohort.open(path).cases("training")
    ]
    low, high = np.percentile(np.concatenate([image.ravel() for image in images]), (0.5, 99.5))
    assert survey.preprocessing.window.low == pytest.approx(low, abs=1)
    assert survey.preprocessing.window.high == pytest.approx(high, rel=0.02)


def test_each_site_sent_one_summary_over_enough_cases_and_its_ledger_says_so(surveyed, survey):
    for site, told in survey.sites.items():
        own = Ledger(surveyed[1] / site / "simulate_job" / "fedxai" / "ledger.jsonl").entries()
        assert [(entry.kind, entry.decision) for entry in own] == [("statistics", "released")]
        assert min(part.share.n for part in told.histogram) >= 5


def test_no_array_hides_in_what_a_site_tells_of_its_data(results):
    longest = {"classes": 3, "histogram": BINS, "spacing": 3, "shape": 3}
    sites = json.loads((results / "survey.json").read_text())["sites"]
    assert len(sites) == 3
    for told in sites.values():
        check_sent(told, longest)
        bins = [part["bin"] for part in told["histogram"]]
        assert bins == sorted(set(bins)), "the list has no order of its own"


def test_a_bundle_takes_the_proposal_in_and_trains_with_it(surveyed, results, survey, repository, tmp_path):
    folder = tmp_path / BUNDLE
    shutil.copytree(repository / "bundles" / BUNDLE, folder)
    shutil.copy(results / "preprocessing.json", folder / "configs")
    train = json.loads((folder / "configs" / "train.json").read_text())
    steps = train["train"]["deterministic_transforms"]
    [place] = [i for i, step in enumerate(steps) if step["_target_"] == "ScaleIntensityRangePercentilesd"]
    steps[place] = "%configs/preprocessing.json::window"
    train["weights"] = "%configs/preprocessing.json::class_weights"
    train["loss"]["weight"] = "$torch.tensor(@weights)"
    (folder / "configs" / "train.json").write_text(json.dumps(train))
    cohort = Cohort.open(surveyed[0] / "site-1")
    trainer = SiteTrainer(
        bundle=Bundle.open(folder),
        cases=cohort.splits(),
        site="site-1",
        settings=TrainSettings(threads=1, local_steps=1),
        device="cpu",
    )
    image = next(trainer.explanation_batches("validation", limit=1, batch_size=1))["image"]
    window = survey.preprocessing.window
    brightest = max(read_image(case.image, what="image").max() for case in cohort.cases("validation"))
    assert image.min() >= 0
    assert image.max() <= min(1, (brightest - window.low) / (window.high - window.low))
    assert np.isfinite(trainer.train(trainer.weights(), round_=0, rounds=1).loss)
