# SPDX-License-Identifier: Apache-2.0
"""The first global model: fresh weights, or those of a given model of the same bundle."""

import pytest
import torch

from fedxai.bundle import Bundle
from fedxai.errors import BundleError
from fedxai.flare.persistor import BundlePersistor

NAME = "brain_mri_tumor_classification"


def first(model: str | None) -> torch.nn.Module:
    return BundlePersistor(NAME, seed=0, model=model)._network(Bundle.open(NAME))


@pytest.fixture
def exported(brain_bundle, tmp_path):
    return brain_bundle.export(tmp_path, brain_bundle.network(seed=7).state_dict())


def test_a_given_model_is_the_first_one(brain_bundle, exported):
    given, fresh = first(str(exported)).state_dict(), first(None).state_dict()
    expected = brain_bundle.network(seed=7).state_dict()
    assert all(torch.equal(given[name], expected[name]) for name in expected)
    assert any(not torch.equal(fresh[name], expected[name]) for name in expected)


def test_a_job_that_needs_a_model_and_names_none_is_refused():
    with pytest.raises(BundleError, match="model must name an exported bundle on the server, got none"):
        first("")


def test_a_model_of_another_version_of_the_bundle_is_refused(exported):
    config = exported / "configs" / "train.json"
    config.write_text(config.read_text().replace('"num_workers": 0', '"num_workers": 1') + "\n")
    assert Bundle.open(exported).digest != Bundle.open(NAME).digest
    with pytest.raises(BundleError, match=f"another version of bundle {NAME}"):
        first(str(exported))


def test_weights_that_do_not_fit_are_refused(brain_bundle, tmp_path):
    weights = brain_bundle.network().state_dict()
    weights.popitem()
    with pytest.raises(BundleError, match="its weights don't fit the network"):
        first(str(brain_bundle.export(tmp_path, weights)))
