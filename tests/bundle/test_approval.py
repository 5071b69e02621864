# SPDX-License-Identifier: Apache-2.0
import shutil

import pytest
import torch

from fedxai.bundle import Bundle
from fedxai.bundle.approval import LIST_FILE, ApprovedBundles, admit, approve
from fedxai.bundle.inspection import Inspection
from fedxai.errors import BundleError, SettingsError


@pytest.fixture
def bundle(write, config):
    return Bundle.open(write(config))


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "local").mkdir()
    return tmp_path / "local" / LIST_FILE


def test_an_approved_bundle_may_run_at_a_site(bundle, listed):
    approve(bundle.inspection, listed)
    admit(bundle, listed, simulated=False)
    assert [entry.name for entry in ApprovedBundles.read(listed).bundles] == ["mine"]


def test_a_provisioned_site_without_a_list_refuses_every_bundle(bundle, brain_bundle, listed):
    for asked in (bundle, brain_bundle):
        with pytest.raises(BundleError, match="is not on this site's list of approved bundles"):
            admit(asked, listed, simulated=False)


def test_the_simulator_lets_the_bundles_of_this_checkout_run_and_no_others(bundle, brain_bundle, listed):
    admit(brain_bundle, listed, simulated=True)
    with pytest.raises(BundleError, match="bundle mine with digest"):
        admit(bundle, listed, simulated=True)


def test_the_simulator_knows_the_list_beside_the_bundles_and_a_site_does_not(bundle, listed):
    approve(bundle.inspection, bundle.path.parent / LIST_FILE)
    admit(bundle, listed, simulated=True)
    with pytest.raises(BundleError, match="bundle mine with digest"):
        admit(bundle, listed, simulated=False)


def test_a_list_of_the_site_decides_in_the_simulator_too(bundle, brain_bundle, listed):
    approve(bundle.inspection, listed)
    with pytest.raises(BundleError, match="brain_mri_tumor_classification with digest"):
        admit(brain_bundle, listed, simulated=True)


def test_any_later_change_ends_the_approval(bundle, listed):
    approve(bundle.inspection, listed)
    file = bundle.path / "configs" / "train.json"
    file.write_text(file.read_text().replace("0.01", "0.02"))
    with pytest.raises(BundleError, match="is not on this site's list"):
        admit(Bundle.open(bundle.path), listed, simulated=False)


def test_weights_that_came_after_the_approval_are_not_approved(bundle, listed):
    approve(bundle.inspection, listed)
    (bundle.path / "models").mkdir()
    torch.save({"weight": torch.zeros(1)}, bundle.path / "models" / "model.pt")
    later = Bundle.open(bundle.path)
    assert later.digest == bundle.digest
    with pytest.raises(BundleError, match="is not on this site's list"):
        admit(later, listed, simulated=False)
    approve(later.inspection, listed)
    admit(later, listed, simulated=False)


def test_approving_again_replaces_the_entry_and_keeps_the_others(bundle, brain_bundle, listed):
    for inspection in (brain_bundle.inspection, bundle.inspection, bundle.inspection):
        approve(inspection, listed)
    assert [entry.name for entry in ApprovedBundles.read(listed).bundles] == [brain_bundle.name, "mine"]


@pytest.mark.parametrize("text", ["{", "[]", '{"bundles": [{"name": "a"}]}', '{"bundle": []}'])
def test_a_list_that_cannot_be_read_refuses(bundle, listed, text):
    listed.write_text(text)
    with pytest.raises((BundleError, SettingsError), match=LIST_FILE):
        admit(bundle, listed, simulated=True)


def test_a_copy_under_another_name_is_what_was_approved(bundle, listed):
    approve(bundle.inspection, listed)
    shutil.copytree(bundle.path, bundle.path.parent / "copy")
    assert ApprovedBundles.read(listed).holds(Inspection(bundle.path.parent / "copy"))
