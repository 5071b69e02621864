# SPDX-License-Identifier: Apache-2.0
"""The benchmark of guided training trains what it says: which masks are kept, which terms, and all figures come out."""

import argparse
import json
import math
import runpy
from types import SimpleNamespace

import pytest
import torch

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError

ALL_THREE = "evidence + relevance + energy + occlusion"


@pytest.fixture(scope="module")
def benchmark(repository):
    return SimpleNamespace(**runpy.run_path(str(repository / "benchmarks" / "explanation_guided.py")))


def asked(**changed):
    usual = {"rounds": 2, "battery": 4, "masks": 1.0, "mask_sites": None, "learning_rate": None}
    return argparse.Namespace(**{**usual, "pseudo_regions": False, "guidance": {}, **changed})


def kept(sites) -> dict[str, float]:
    """The share of training cases with a region at each site."""
    return {
        site: sum(case.region is not None for case in cases["training"]) / len(cases["training"])
        for site, cases in sites.items()
    }


def test_masks_are_kept_in_the_share_and_at_the_sites_that_are_asked_for(benchmark, phantom_cases):
    regions = kept(phantom_cases)
    assert kept(benchmark.masked(phantom_cases, asked(), 0)) == regions
    fewer = kept(benchmark.masked(phantom_cases, asked(masks=0.3), 0))
    assert all(0 < fewer[site] < 0.7 * share for site, share in regions.items())
    first, *others = kept(benchmark.masked(phantom_cases, asked(mask_sites=1), 0)).values()
    assert first == next(iter(regions.values()))
    assert others == [0] * len(others)


def test_only_training_loses_its_masks(benchmark, phantom_cases):
    bare = benchmark.masked(phantom_cases, asked(masks=0.0), 0)
    assert set(kept(bare).values()) == {0}
    for site, cases in phantom_cases.items():
        assert all(bare[site][split] == cases[split] for split in ("validation", "test"))


def test_late_terms_are_trained_in_float32_and_the_others_in_bfloat16(benchmark):
    precision = {arm: benchmark.guided(terms, seed=0).mixed_precision for arm, (_, terms) in benchmark.ARMS.items()}
    assert precision == {arm: "energy" not in arm and "occlusion" not in arm for arm in benchmark.ARMS}


def test_settings_that_some_arm_cannot_have_are_refused_before_the_first_is_trained(benchmark, monkeypatch):
    monkeypatch.setitem(benchmark.main.__globals__, "compare", lambda *_: pytest.fail("trained"))
    for wrong in ("energy_form", "energy_from"):
        given = ["--quick", "--arms", "plain", "plain + energy", "--guidance", json.dumps({wrong: 4})]
        monkeypatch.setattr("sys.argv", ["explanation_guided.py", *given])
        with pytest.raises(SettingsError, match=wrong):
            benchmark.main()


@pytest.mark.parametrize(("arm", "held"), [("plain", None), ("plain + energy", None), ("evidence + relevance", True)])
def test_a_relevance_is_held_in_the_arms_that_have_one(benchmark, arm, held):
    late = benchmark.late_settings(asked(guidance={"hold_relevance": True}), benchmark.ARMS[arm][1])
    assert late.get("hold_relevance") is held
    assert benchmark.guided(benchmark.ARMS[arm][1], seed=0, **late)


@pytest.mark.slow
def test_what_the_terms_cost_is_counted(benchmark, phantom_cases, monkeypatch):
    """In plain steps: a double backward pass for energy, with a region or a pseudo-region; nothing for relevance."""
    everywhere = "fedxai.train.guidance.pseudo_region"
    monkeypatch.setattr(everywhere, lambda heard, space: torch.ones(len(heard), 1, *space, dtype=torch.bool))
    bundle = Bundle.open(benchmark.EVIDENCE)
    weights = {name: tensor.numpy() for name, tensor in bundle.network(seed=0).state_dict().items()}

    def cost(*terms, pseudo=False):
        settings = benchmark.guided(terms, seed=0, pseudo_regions=pseudo)
        return list(benchmark.operations(phantom_cases["site-1"], bundle, settings, weights, rounds=4).values())

    assert cost() == cost("relevance") == [1, 1]
    here, there = cost("relevance", "energy")
    assert 2 < here < 3
    assert there == 1
    assert cost("relevance", "energy", pseudo=True) == [here, here]


@pytest.mark.slow
def test_an_arm_under_all_three_terms_ends_with_every_figure(benchmark, phantom_cases):
    few = asked(guidance={"energy_from": 0.0}, masks=0.5, pseudo_regions=True)
    found = benchmark.measure(phantom_cases, few, "centralised", 0, ALL_THREE)
    assert found["guidance"] == {"energy_from": 0.0, "pseudo_regions": True}
    assert found["operations"] > 4
    assert {"auc", "accuracy", "E", "occlusion_mass", "drop_region", "swap_kept", "blank_kept"} <= found.keys()
    assert "by_construction" in found
    assert all(math.isfinite(value) for value in found.values() if isinstance(value, float))
