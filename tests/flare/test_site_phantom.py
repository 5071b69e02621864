# SPDX-License-Identifier: Apache-2.0
"""A site without a cohort draws the phantom whose dimension and task are its bundle's."""

from pathlib import Path

import pytest

from fedxai.bundle import Bundle
from fedxai.errors import CohortError
from fedxai.flare.site import Site


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw the phantom for a bundle at site-3; what was asked of which phantom."""
    asked = []
    for name in ("make_phantom", "make_phantom_3d"):
        monkeypatch.setattr(f"fedxai.flare.site.{name}", lambda folder, _name=name, **ask: asked.append((_name, ask)))

    def draw(bundle):
        site = Site(bundle)
        site._context = {"name": "site-3", "local": tmp_path, "simulated": True}
        site._draw_phantom(tmp_path)
        return asked[-1]

    return draw


@pytest.mark.parametrize(
    ("bundle", "phantom", "task"),
    [
        ("brain_mri_tumor_classification", "make_phantom", {}),
        ("brain_mri_lesion_classification", "make_phantom_3d", {"task": "classification"}),
        ("hippocampus_mri_segmentation", "make_phantom_3d", {"task": "segmentation"}),
    ],
)
def test_the_phantom_fits_the_bundle(drawn, bundle, phantom, task):
    assert drawn(bundle) == (phantom, {"site": "site-3", "index": 2, **task})


def test_a_bundle_without_a_phantom_is_refused_by_name(drawn, monkeypatch):
    monkeypatch.setattr(Bundle, "task", "segmentation")
    with pytest.raises(CohortError, match="no phantom fits bundle brain_mri_tumor_classification"):
        drawn("brain_mri_tumor_classification")


def test_a_real_site_without_a_cohort_trains_on_nothing():
    site = Site("brain_mri_tumor_classification")
    site._context = {"name": "site-1", "local": Path("no-such-folder"), "simulated": False}
    with pytest.raises(CohortError, match="site-1 has no cohort; name its folder as 'cohort' in local/fedxai.json"):
        _ = site.cohort
