# SPDX-License-Identifier: Apache-2.0
"""Which models are served, and when one that was refused is looked at again; test_app.py replaces one that runs."""

import shutil
from pathlib import Path

import pytest
import torch

from fedxai.bundle.approval import approve, list_for
from fedxai.bundle.inspection import Inspection
from fedxai.errors import BundleError, SettingsError
from fedxai.label import model_watch
from fedxai.label.model_watch import ModelWatch

BRAIN = "brain_mri_tumor_classification"


@pytest.fixture
def placed(untrained, tmp_path):
    """A model's folder, and the state dict that lies in it."""
    folder = shutil.copytree(untrained(BRAIN), tmp_path / BRAIN)
    return folder, torch.load(folder / "models" / "model.pt", weights_only=True)


def scripted(file):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(file))


def test_a_checkpoint_with_the_state_dict_as_model_is_the_same_model(placed):
    folder, state = placed
    expected = ModelWatch(str(folder), device="cpu").current().weights()
    torch.save({"model": state, "optimizer": {"lr": 0.1}}, folder / "models" / "model.pt")
    found = ModelWatch(str(folder), device="cpu").current().weights()
    assert all((found[name] == value).all() for name, value in expected.items())


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda file, state: torch.save([state], file), "state dict of tensors"),
        (lambda file, state: torch.save({"epoch": 3, "weights": state}, file), "state dict of tensors"),
        (lambda file, state: scripted(file), "is TorchScript"),
        (lambda file, state: file.write_bytes(b"weights"), "not a checkpoint of tensors"),
        (lambda file, state: torch.save({k: v * torch.nan for k, v in state.items()}, file), "not finite"),
        (lambda file, state: torch.save({"w": torch.zeros(2)}, file), "don't fit"),
    ],
    ids=["a list", "another key", "TorchScript", "noise", "NaN", "another network"],
)
def test_what_is_no_state_dict_of_this_network_is_refused_and_the_model_before_stays(placed, write, sentence):
    folder, state = placed
    watch = ModelWatch(str(folder), device="cpu")
    before = watch.current()
    write(folder / "models" / "model.pt", state)
    assert watch.current() is before
    assert sentence in str(watch.trouble)
    with pytest.raises(BundleError, match=sentence):
        ModelWatch(str(folder), device="cpu").current()


def changed(folder):
    """The bundle configured otherwise, so that what was approved is another."""
    file = folder / "configs" / "train.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))


def scripts_added(folder):
    (folder / "scripts").mkdir()
    (folder / "scripts" / "more.py").write_text("MORE = 1\n")


@pytest.mark.parametrize("change", [changed, scripts_added])
def test_a_bundle_whose_configuration_or_code_is_another_now_is_looked_at_again(placed, change):
    folder, _ = placed
    watch = ModelWatch(str(folder), device="cpu")
    before = watch.current()
    change(folder)
    assert watch.current() is before
    assert "is not on the list of approved bundles" in str(watch.trouble)


@pytest.mark.parametrize("named", ["approved_bundles.json", "lists/ours.json", None], ids=["site", "named", "beside"])
def test_a_bundle_is_taken_once_it_is_approved(placed, tmp_path, named):
    folder, _ = placed
    site = tmp_path / "local" if named else None
    if named:
        (tmp_path / "local" / "lists").mkdir(parents=True)
        (tmp_path / "local" / "fedxai.json").write_text(f'{{"approved_bundles": "{named}"}}')
        approve(Inspection(folder), list_for(Inspection(folder), site))
    watch = ModelWatch(str(folder), site=site, device="cpu")
    before = watch.current()
    changed(folder)
    assert watch.current() is before
    assert "approve" in str(watch.trouble)
    approve(Inspection(folder), list_for(Inspection(folder), site))
    assert watch.current().bundle.digest == Inspection(folder).digest != before.bundle.digest
    assert watch.trouble is None


@pytest.mark.parametrize("replaced", [False, True], ids=["it lies there", "another lies there"])
def test_a_model_whose_approval_is_withdrawn_answers_no_more(placed, tmp_path, replaced):
    (folder, _), site = placed, tmp_path / "local"
    site.mkdir()
    listed = list_for(Inspection(folder), site)
    approve(Inspection(folder), listed)
    watch = ModelWatch(str(folder), site=site, device="cpu")
    watch.current()
    if replaced:
        changed(folder)
    listed.unlink()
    for _ in range(2):
        with pytest.raises(BundleError, match="is not on the list of approved bundles"):
            watch.current()


def test_a_bundle_is_taken_once_its_checkouts_list_has_it(placed, untrained, tmp_path, monkeypatch):
    folder, _ = placed
    root = tmp_path / "bundles"
    shutil.copytree(untrained(BRAIN), root / BRAIN)
    monkeypatch.setenv("FEDXAI_BUNDLES", str(root))
    watch = ModelWatch(str(folder), device="cpu")
    before = watch.current()
    changed(folder)
    assert watch.current() is before
    approve(Inspection(folder), root / "approved_bundles.json")
    assert watch.current().bundle.digest != before.bundle.digest


def test_what_is_refused_is_not_read_again_at_every_question(placed, monkeypatch):
    folder, _ = placed
    watch, read, admitted = ModelWatch(str(folder), device="cpu"), [], model_watch.admit
    watch.current()
    changed(folder)
    monkeypatch.setattr(model_watch, "admit", lambda *args: read.append(args) or admitted(*args))
    for _ in range(3):
        watch.current()
    assert len(read) == 2  # the model that is served, and what lies there


@pytest.mark.parametrize("name", ["model.pt", "metadata.json"])
def test_what_the_disk_refused_is_read_at_the_next_question(placed, monkeypatch, name):
    folder, state = placed
    watch = ModelWatch(str(folder), device="cpu")
    before = watch.current()
    torch.save({key: value * 1.5 for key, value in state.items()}, folder / "models" / "model.pt")

    def refused(real):
        def read(path, *args, **kwargs):
            if path.name == name:
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **kwargs)

        return read

    with monkeypatch.context() as broken:
        for how in ("read_bytes", "read_text"):
            broken.setattr(Path, how, refused(getattr(Path, how)))
        assert watch.current() is before
        assert watch.trouble
    assert watch.current().digest != before.digest
    assert watch.trouble is None


def test_a_model_that_was_out_of_sight_is_no_trouble_once_it_is_there_again(placed, tmp_path):
    folder, _ = placed
    watch = ModelWatch(str(folder), device="cpu")
    before = watch.current()
    folder.rename(tmp_path / "away")
    assert watch.current() is before
    assert watch.trouble
    (tmp_path / "away").rename(folder)
    assert watch.current().digest == before.digest
    assert watch.trouble is None


def test_site_settings_that_cannot_be_read_leave_the_model_before(placed, tmp_path):
    folder, _ = placed
    site = tmp_path / "local"
    site.mkdir()
    approve(Inspection(folder), list_for(Inspection(folder), site))
    watch = ModelWatch(str(folder), site=site, device="cpu")
    before = watch.current()
    (site / "fedxai.json").write_text("{")
    assert watch.current() is before
    assert "fedxai.json" in str(watch.trouble)
    with pytest.raises(SettingsError, match="fedxai.json"):
        ModelWatch(str(folder), site=site, device="cpu").current()
