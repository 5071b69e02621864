# SPDX-License-Identifier: Apache-2.0
"""The packed job carries configuration only, and FLARE does not take it for one with code."""

import json
import shutil

import pytest
from nvflare.private.fed.app.default_app_validator import AppValidationKey, DefaultAppValidator

from fedxai.errors import SettingsError
from fedxai.flare.pack import pack_job


@pytest.fixture
def job(repository):
    return repository / "jobs" / "fedxai"


def carries_code(app) -> bool:
    error, found = DefaultAppValidator(site_type="client").validate(str(app))
    assert not error
    return bool(found.get(AppValidationKey.BYOC))


def test_flare_sees_code_in_the_simulators_form_and_none_in_the_packed_one(job, tmp_path):
    assert carries_code(job / "app")
    packed = pack_job(job, tmp_path / "packed")
    assert not carries_code(packed / "app")
    assert {path.suffix for path in packed.rglob("*") if path.is_file()} == {".json"}


def test_all_sites_take_part_unless_some_are_named(job, tmp_path):
    everybody = json.loads((pack_job(job, tmp_path / "all") / "meta.json").read_text())
    named = json.loads((pack_job(job, tmp_path / "two", sites=["site-1", "site-3"]) / "meta.json").read_text())
    assert everybody["deploy_map"] == {"app": ["@ALL"]}
    assert named["deploy_map"] == {"app": ["server", "site-1", "site-3"]}
    assert (everybody["name"], named["name"]) == ("all", "two")


def test_settings_are_set_on_both_sides_and_no_path_of_the_simulator_travels(job, tmp_path):
    packed = pack_job(job, tmp_path / "packed", settings={"num_rounds": 3, "seed": 5}, train={"local_steps": 2})
    sides = [json.loads((packed / "app" / "config" / f"config_fed_{side}.json").read_text()) for side in SIDES]
    assert sides[0]["num_rounds"] == 3
    assert [side["seed"] for side in sides] == [5, 5]
    assert [side["cohorts"] for side in sides] == [None, None]
    assert sides[1]["components"][0]["args"]["train"]["local_steps"] == 2


@pytest.mark.parametrize("carried", ["app/custom/net.py", "app/config/run.sh", "weights.bin", "app/custom/a.json"])
def test_a_job_that_carries_anything_but_configuration_is_not_packed(job, tmp_path, carried):
    shutil.copytree(job, tmp_path / "job")
    (tmp_path / "job" / carried).write_text("")
    with pytest.raises(SettingsError, match=f"carries {carried}, and no site takes code from a job"):
        pack_job(tmp_path / "job", tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job"]


def test_a_link_in_a_job_counts_as_something_carried(job, tmp_path):
    shutil.copytree(job, tmp_path / "job")
    (tmp_path / "job" / "app" / "config" / "more.json").symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="carries"):
        pack_job(tmp_path / "job", tmp_path / "packed")


def test_an_unknown_setting_leaves_nothing_behind(job, tmp_path):
    with pytest.raises(SettingsError, match="has no setting 'rounds'"):
        pack_job(job, tmp_path / "packed", settings={"rounds": 3})
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_pack_is_not_overwritten(job, tmp_path):
    pack_job(job, tmp_path / "packed")
    with pytest.raises(SettingsError, match="--out must be a new folder, got 'packed'"):
        pack_job(job, tmp_path / "packed")


SIDES = ("server", "client")
