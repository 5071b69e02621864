# SPDX-License-Identifier: Apache-2.0
"""Which files of weights are served; how one is replaced while the server runs is told in test_app.py."""

import shutil

import pytest
import torch

from fedxai.errors import BundleError
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
