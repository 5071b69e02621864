# SPDX-License-Identifier: Apache-2.0
"""What a job asks is read as FLARE reads it, and stands in the report in plain values."""

import json

import pytest

from fedxai.errors import SettingsError
from fedxai.flare.job_settings import CONFIG, read_config, shown_settings, train_settings


def test_names_in_braces_are_the_values_at_the_top(tmp_path):
    values = {"seed": 3, "parts": [{"args": {"seed": "{seed}", "text": "{nothing}"}}]}
    (tmp_path / "config_fed_server.json").write_text(json.dumps(values))
    assert read_config(tmp_path, "server")["parts"] == [{"args": {"seed": 3, "text": "{nothing}"}}]
    assert read_config(tmp_path, "client") == {}


def test_the_main_job_shows_how_its_sites_train(repository):
    shown = shown_settings(repository / "jobs" / "fedxai" / CONFIG)
    assert shown.items() >= {"rounds": 6, "seed": 0, "local_epochs": 4, "explain_every": 2, "guidance": None}.items()
    assert "late_every" not in shown, "of no account without guidance"
    assert all(value is None or isinstance(value, int | float | str) for value in shown.values())


def test_a_job_that_trains_nothing_shows_nothing_of_training(repository):
    assert set(shown_settings(repository / "jobs" / "explain_only" / CONFIG)) == {
        "rounds", "seed", "key_metric", "explain_every", "e_floor",
    }  # fmt: skip


def test_guidance_is_shown_with_its_terms_joined(tmp_path):
    site = {"id": "site", "args": {"train": {"guidance": {"terms": ["relevance", "energy"], "late_every": 3}}}}
    (tmp_path / "config_fed_server.json").write_text(json.dumps({"num_rounds": 2}))
    (tmp_path / "config_fed_client.json").write_text(json.dumps({"components": [site]}))
    shown = shown_settings(tmp_path)
    assert (shown["guidance"], shown["late_every"], shown["relevance_weight"]) == ("relevance+energy", 3, 1.0)


def test_a_training_setting_that_nobody_knows_is_refused():
    with pytest.raises(SettingsError, match="train: local_epoch .*known settings: local_epochs"):
        train_settings({"components": [{"id": "site", "args": {"train": {"local_epoch": 2}}}]})
