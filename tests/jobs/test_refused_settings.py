# SPDX-License-Identifier: Apache-2.0
"""Settings that cannot be kept, past the preflight: server and site say so themselves before anything is trained."""

import shutil
from pathlib import Path

import pytest

from fedxai.errors import RunError
from fedxai.flare.simulate import run_job

pytestmark = pytest.mark.slow


@pytest.fixture
def one_cohort(small_cohorts) -> Path:
    for site in ("site-2", "site-3"):
        shutil.rmtree(small_cohorts / site)
    return small_cohorts


@pytest.mark.parametrize(
    ("settings", "train", "sentence"),
    [
        (
            {},
            {"guidance": {"terms": ["relevance"]}},
            "site-1 cannot take part: .* needs relevance_layer in explain.json",
        ),
        ({"e_floor": 2.0}, {}, "e_floor must be between 0 and 1, or null, got 2.0"),
    ],
)
def test_a_setting_that_cannot_be_kept_is_named_before_anything_is_trained(
    main_job, one_cohort, tmp_path, monkeypatch, settings, train, sentence
):
    """By site and server themselves: a job that comes over the console has passed no preflight."""
    monkeypatch.setattr("fedxai.flare.preflight.check_run", lambda *_: None)
    with pytest.raises(RunError, match=f"the run failed: .*{sentence}"):
        run_job(main_job, out=tmp_path / "run", cohorts=one_cohort, settings=settings, train=train)


def test_what_ends_a_job_before_its_workflow_begins_is_the_sentence_that_is_read(repository, one_cohort, tmp_path):
    with pytest.raises(RunError, match="the run failed: model must name an exported bundle on the server, got none"):
        run_job(repository / "jobs" / "explain_only", out=tmp_path / "run", cohorts=one_cohort)
