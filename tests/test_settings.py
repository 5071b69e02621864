# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from fedxai.errors import SettingsError
from fedxai.settings import COHORTS_VARIABLE, SiteSettings, TrainSettings, checked, cohorts_root


def test_a_broken_rule_names_setting_and_value():
    with pytest.raises(SettingsError, match=r"train: local_epochs .*greater than or equal to 1, got 0; known settings"):
        checked(TrainSettings, {"local_epochs": 0}, what="train")


def test_an_unknown_setting_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(SettingsError, match="local_epoch .*known settings: local_epochs"):
        checked(TrainSettings, {"local_epoch": 2}, what="train")


def test_a_site_without_settings_has_the_defaults(tmp_path):
    assert SiteSettings.read(tmp_path).cohort is None


def test_a_site_reads_its_own_settings(tmp_path):
    (tmp_path / "fedxai.json").write_text(json.dumps({"cohort": "/data", "minimum_cell": 9}))
    assert SiteSettings.read(tmp_path).minimum_cell == 9


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "not readable JSON"),
        ('{"cohort": "/data/München"}'.encode("latin-1"), "not readable JSON: UnicodeDecodeError"),
        (100_000 * b"[", "not readable JSON"),
        (b"null", "must be a JSON object of settings, got NoneType"),
        (b"[]", "must be a JSON object of settings, got list"),
    ],
)
def test_a_site_with_broken_settings_is_told(tmp_path, text, reason):
    (tmp_path / "fedxai.json").write_bytes(text)
    with pytest.raises(SettingsError, match=reason):
        SiteSettings.read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (SiteSettings, {"minimum_cell": True}),  # not 1, which would hold nothing back
        (SiteSettings, {"minimum_cell": "9"}),
        (SiteSettings, {"policy": {"update_norm": float("inf")}}),
        (SiteSettings, {"policy": {"largest": float("nan")}}),
        (TrainSettings, {"seed": True}),
        (TrainSettings, {"local_steps": True}),
        (TrainSettings, {"learning_rate": True}),
        (TrainSettings, {"guidance": {"energy_from": False}}),
        (TrainSettings, {"guidance": {"energy_weight": float("inf")}}),
    ],
)
def test_a_number_is_one(kind, values):
    with pytest.raises(SettingsError, match="should be a (valid|finite)"):
        checked(kind, values, what="settings")


def test_a_whole_number_serves_where_any_number_does():
    assert TrainSettings(learning_rate=1).learning_rate == 1.0


def test_the_environment_goes_before_the_jobs_setting(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv(COHORTS_VARIABLE, str(tmp_path / "a"))
    assert cohorts_root(str(tmp_path / "b")) == (tmp_path / "a").resolve()


def test_a_cohorts_folder_that_is_not_there_is_named_without_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv(COHORTS_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="'nowhere'") as caught:
        cohorts_root()
    assert str(tmp_path) not in str(caught.value)


def test_nothing_configured_means_no_cohorts_folder(monkeypatch):
    monkeypatch.delenv(COHORTS_VARIABLE, raising=False)
    assert cohorts_root() is None


@pytest.mark.parametrize("shell", ["the folder", None, "gone", "."])
def test_a_relative_cohorts_folder_is_below_the_one_where_the_command_was_typed(tmp_path, monkeypatch, shell):
    """FLARE's simulator goes into its workspace before anybody asks."""
    typed, workspace = tmp_path / "typed", tmp_path / "workspace"
    for folder in (typed, workspace):
        (folder / "cohorts").mkdir(parents=True)
    monkeypatch.setenv(COHORTS_VARIABLE, "cohorts")
    monkeypatch.chdir(workspace)
    if shell is None:
        monkeypatch.delenv("PWD", raising=False)
    else:
        monkeypatch.setenv("PWD", str(typed if shell == "the folder" else tmp_path / shell))
    assert cohorts_root() == ((typed if shell == "the folder" else workspace) / "cohorts").resolve()
