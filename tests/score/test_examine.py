# SPDX-License-Identifier: Apache-2.0
import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import explain_batch
from fedxai.score import SCORES, score_map, score_model
from fedxai.score import costly as costly_module
from fedxai.score import examine as examine_module
from fedxai.score.examine import examine
from fedxai.score.places import place_shares
from fedxai.score.regions import Regions
from fedxai.score.similarity import rank_agreement

METHODS = ["saliency", "gradient_x_input", "grad_cam"]
ASK = {"split": "test", "methods": METHODS, "target_layer": "0"}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)
    )


def batch(size, *, seed=0, with_region=None):
    random = torch.Generator().manual_seed(seed)
    has_region = torch.ones(size, dtype=torch.bool) if with_region is None else torch.tensor(with_region)
    region = torch.rand(size, 1, 12, 10, generator=random) > 0.7
    return {
        "image": torch.rand(size, 2, 12, 10, generator=random),
        "label": torch.randint(3, (size,), generator=random),
        "region": region & has_region[:, None, None, None],
        "has_region": has_region,
        "group": [f"p{seed}-{index // 2}" for index in range(size)],
    }


def test_figures_are_the_means_of_the_cases(network):
    batches = [batch(4, seed=1), batch(3, seed=2)]
    answer = examine(network, batches, **ASK)
    assert (answer.split, answer.cases, answer.passes) == ("test", 7, 2)
    assert answer.seconds > 0
    assert [method.method for method in answer.methods] == METHODS
    for method in answer.methods:
        assert set(method.scores) == set(method.chance) == set(method.centred) == set(SCORES) == set(method.undefined)
        whole = [
            score_map(
                explain_batch(network, b["image"], methods=METHODS, target_layer="0").maps[method.method],
                b["region"],
            )
            for b in batches
        ]
        for name in SCORES:
            values = torch.cat([part[name] for part in whole])
            assert method.scores[name].value == pytest.approx(float(values.nanmean()), abs=1e-4)
            assert method.undefined[name] == int(values.isnan().sum())
        area = torch.cat([b["region"].double().mean(dim=(1, 2, 3)) for b in batches])
        assert method.chance["relevance_mass"].value == pytest.approx(float(area.mean()), abs=1e-4)


def test_cases_without_a_region_are_explained_but_not_scored(network):
    cases = []
    answer = examine(network, [batch(4, with_region=[True, False, True, False])], sink=cases.append, **ASK)
    for method in answer.methods:
        assert (method.scored, method.unscored) == (2, 2)
        assert method.undefined["relevance_mass"] == 0
        assert (method.scores["relevance_mass"].n, method.scores["gini"].n, method.scores["entropy"].n) == (2, 4, 4)
    assert [case.region is None for case in cases] == [False, True, False, True]
    without = {"gini", "entropy"}  # which need none
    assert [set(case.scores["saliency"]) for case in cases] == [set(SCORES), without, set(SCORES), without]
    assert all(set(case.maps) == set(METHODS) for case in cases)


def test_a_site_without_any_region_still_gets_its_maps(network):
    cases = []
    answer = examine(network, [batch(2, with_region=[False, False])], sink=cases.append, **ASK)
    assert answer.methods[0].scores["relevance_mass"].value is None
    assert (answer.methods[0].scored, answer.methods[0].unscored, len(cases)) == (0, 2, 2)


def test_the_sink_gets_every_case_in_order_with_its_own_scores(network):
    batches, cases = [batch(3, seed=3), batch(2, seed=4)], []
    examine(network, batches, sink=cases.append, **ASK)
    assert [case.index for case in cases] == [0, 1, 2, 3, 4]
    images = np.concatenate([b["image"].numpy() for b in batches])
    regions = np.concatenate([b["region"].numpy() for b in batches])
    labels = [int(label) for b in batches for label in b["label"]]
    for case in cases:
        np.testing.assert_array_equal(case.image, images[case.index])
        np.testing.assert_array_equal(case.region, regions[case.index])
        assert case.label == labels[case.index]
        assert case.predicted == case.target == int(np.argmax(case.probabilities))
        assert sum(case.probabilities) == pytest.approx(1.0)
        for method, by_name in case.scores.items():
            assert (case.maps[method].shape, case.maps[method].dtype) == ((1, 12, 10), np.float32)
            alone = score_map(torch.tensor(case.maps[method])[None], torch.tensor(case.region)[None])
            for name, value in by_name.items():
                wanted = float(alone[name])
                known = None if math.isnan(wanted) else pytest.approx(wanted, rel=1e-3, abs=1e-5)
                assert value == known


def test_the_label_is_explained_where_that_is_asked(network):
    cases = []
    examine(network, [batch(6)], target_class="label", sink=cases.append, **ASK)
    assert [case.target for case in cases] == [case.label for case in cases]
    assert any(case.target != case.predicted for case in cases)


def test_maps_are_made_from_the_black_of_the_bundle(network):
    def occlusion(**ask):
        cases = []
        examine(network, [batch(2)], split="test", methods=["occlusion"], sink=cases.append, **ask)
        return cases[0].maps["occlusion"]

    expected = explain_batch(network, batch(2)["image"], methods=["occlusion"], black=-1.0).maps["occlusion"][0]
    assert np.allclose(occlusion(black=-1.0), expected, atol=1e-6)
    assert not np.allclose(occlusion(), expected)


def test_the_same_cases_give_the_same_answer_however_they_are_batched(network):
    whole = batch(6, seed=5)
    parts = [{key: value[i : i + 2] for key, value in whole.items()} for i in (0, 2, 4)]
    one, three = (examine(network, batches, **ASK) for batches in ([whole], parts))
    for together, apart in zip(one.methods, three.methods, strict=True):
        for name in SCORES:
            assert together.scores[name].value == pytest.approx(apart.scores[name].value, abs=2e-4)
    assert examine(network, [whole], **ASK).methods == one.methods


def test_no_cases_leave_figures_without_values(network):
    answer = examine(network, [], **ASK)
    assert (answer.cases, answer.passes) == (0, 0)
    assert answer.methods[0].scores["relevance_mass"].value is None


def test_a_map_of_zeros_is_counted_not_averaged(network):
    dark = batch(4, seed=6)
    dark["image"][1] = 0  # gradient x input of a black image is zero everywhere
    answer = examine(network, [dark], **{**ASK, "methods": ["gradient_x_input"]})
    assert answer.methods[0].undefined["relevance_mass"] == 1
    assert answer.methods[0].scores["relevance_mass"].n == 3


def living_tensors(network, monkeypatch, cases):
    """The most batches and maps alive at once while so many cases are examined."""
    alive: set[int] = set()
    peaks = []

    def watch(tensor):
        alive.add(id(tensor))
        weakref.finalize(tensor, alive.discard, id(tensor))

    def batches():
        for seed in range(cases // 4):
            made = batch(4, seed=seed)
            watch(made["image"])
            peaks.append(len(alive))
            yield made
            del made

    def watched(*arguments, **keywords):
        answer = explain_batch(*arguments, **keywords)
        for tensor in (answer.logits, *answer.maps.values()):
            watch(tensor)
        peaks.append(len(alive))
        return answer

    def sink(case):
        watch(case.image)
        watch(case.maps["saliency"])
        peaks.append(len(alive))

    monkeypatch.setattr(examine_module, "explain_batch", watched)
    examine(network, batches(), sink=sink, **ASK)
    return max(peaks)


def test_memory_is_flat_in_the_number_of_cases(network, monkeypatch):
    few, many = (living_tensors(network, monkeypatch, cases) for cases in (12, 120))
    assert few == many


def test_a_kept_case_keeps_nothing_else_of_its_batch(network):
    kept, whole = [], batch(8)
    examine(network, [whole], sink=lambda case: case.index == 0 and kept.append(case), **ASK)
    (case,) = kept
    for array in (case.image, case.region, *case.maps.values()):
        assert array.base.untyped_storage().nbytes() == array.nbytes
    case.image[:] = -1
    assert whole["image"].min() >= 0


@pytest.mark.parametrize("lost", ["image", "label", "region", "has_region", "group"])
def test_an_incomplete_batch_is_refused(network, lost):
    broken = {key: value for key, value in batch(2).items() if key != lost}
    with pytest.raises(ExplanationError, match=f"it lacks {lost}"):
        examine(network, [broken], **ASK)


def test_uneven_batches_are_refused(network):
    broken = {**batch(3), "group": ["a", "b"]}
    with pytest.raises(ExplanationError, match=r"one entry per case, got .*'group': 2"):
        examine(network, [broken], **ASK)


def test_a_region_on_another_grid_is_refused(network):
    broken = {**batch(2), "region": torch.ones(2, 1, 6, 5)}
    with pytest.raises(ExplanationError, match="share batch and grid"):
        examine(network, [broken], **ASK)


def test_an_unknown_target_rule_lists_the_choices(network):
    with pytest.raises(ExplanationError, match="one of predicted, label, got 'truth'"):
        examine(network, [batch(2)], **{**ASK, "target_class": "truth"})


def test_the_battery_and_the_places_are_there_when_asked_for(network):
    batches = [batch(8)]
    quiet = examine(network, batches, split="test", methods=["saliency"])
    assert quiet.honesty is None
    assert quiet.places == []
    more = [*batches, batch(4)]
    asked = examine(network, batches, split="test", methods=["saliency"], honesty_cases=3, searched=more)
    assert asked.honesty is not None
    assert asked.honesty.cases == 3
    assert sum(place.n for place in asked.places) == 12, "also cases that are not scored"
    assert asked.cases == quiet.cases == 8
    assert asked.passes > quiet.passes
    assert asked.methods == quiet.methods


@pytest.mark.parametrize("name", ["trust_cases", "honesty_cases"])
def test_a_negative_number_of_cases_is_refused(network, name):
    with pytest.raises(ExplanationError, match=f"{name} must be at least 0, got -1"):
        examine(network, [batch(2)], split="test", methods=["saliency"], **{name: -1})


def test_a_background_of_another_size_is_compared_with_nowhere_and_the_other_methods_go_on():
    """Volumes keep their size where a window slides over them; the background has that of most of them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    first, other = batch(2, seed=1), batch(3, seed=2)
    other |= {key: nn.functional.pad(other[key].float(), (0, 2)) for key in ("image", "region")}
    methods = ["saliency", "integrated_gradients_mean"]
    ask = {"split": "test", "methods": methods, "background": first["image"], "trust_cases": 5}
    answer = examine(network, [first, other], **ask)
    assert [(method.scored, method.unscored) for method in answer.methods] == [(5, 0), (2, 3)]
    assert [method.scores["deletion"].n for method in answer.methods] == [5, 2]


def test_a_gallery_shows_a_segmenter_of_coarser_cells():
    torch.manual_seed(0)
    network = nn.Conv2d(2, 3, 2, stride=2)
    cases = []
    examine(network, [batch(2)], split="test", methods=["saliency"], target_class="label", sink=cases.append)
    shares = network(batch(2)["image"])[0].softmax(dim=0)
    touched = nn.functional.max_pool2d(batch(2)["region"][:1].float(), 2)[0, 0].bool()
    assert cases[0].probabilities == pytest.approx(shares[:, touched].mean(dim=1).tolist(), abs=1e-6)


@pytest.mark.parametrize(("segments", "present"), [(True, [True, False]), (False, [True, True])])
def test_a_class_without_a_region_is_not_in_a_case_of_a_segmentation_alone(network, segments, present):
    cases = []
    asked = nn.Conv2d(2, 3, 3, padding=1) if segments else network
    one = batch(2, with_region=[True, False])
    examine(asked, [one], split="test", methods=["saliency"], target_class="label", sink=cases.append)
    assert [case.present for case in cases] == present


def pixel(size):
    """A region of one pixel a case."""
    region = torch.zeros(size, 1, 12, 10, dtype=torch.bool)
    region[:, :, 6, 5] = True
    return region


def test_a_margin_is_in_the_millimetres_of_the_batch(network):
    one = {**batch(4), "region": pixel(4), "spacing": torch.tensor([1.0, 3.0])}
    maps = explain_batch(network, one["image"], methods=["saliency"]).maps["saliency"]
    wanted, plain = (score_map(maps, Regions.of(one["region"], spacing)) for spacing in (one["spacing"], None))
    [method] = examine(network, [one], split="test", methods=["saliency"]).methods
    name = "relevance_mass_margin"
    assert method.scores[name].value == pytest.approx(float(wanted[name].mean()), abs=1e-4)
    assert float(wanted[name].mean()) != pytest.approx(float(plain[name].mean()), abs=1e-3)


def test_the_costly_scores_know_the_other_methods_and_the_millimetres(network, monkeypatch):
    seen = []

    def spy(asked):
        seen.append((sorted(asked.others), None if asked.spacing is None else asked.spacing.tolist()))
        return score_model(asked)

    monkeypatch.setattr(costly_module, "score_model", spy)
    one = {**batch(3), "spacing": torch.tensor([[1.0, 3.0]] * 3)}
    answer = examine(network, [one], split="test", methods=["saliency", "gradient_x_input"], trust_cases=3)
    assert seen == [(["gradient_x_input"], [[1.0, 3.0]] * 3), (["saliency"], [[1.0, 3.0]] * 3)]
    first, second = (
        explain_batch(network, one["image"], methods=[name]).maps[name].double().sum(dim=1)
        for name in ("saliency", "gradient_x_input")
    )
    wanted = float(rank_agreement(first.abs(), second.abs()).mean())
    for method in answer.methods:
        assert method.scores["method_agreement"].n == 3
        assert method.scores["method_agreement"].value == pytest.approx(wanted, abs=1e-3)


def test_shortcuts_are_searched_in_the_relevance_for_a_cases_own_class(network):
    """The network predicts class 0 everywhere."""
    with torch.no_grad():
        network[4].bias[0] += 100
    one = {**batch(4), "region": pixel(4), "label": torch.ones(4, dtype=torch.long)}
    [place] = examine(network, [], split="test", methods=["saliency"], searched=[one]).places
    ask = {"methods": ["gradient_x_input"]}
    own, other = (
        place_shares(explain_batch(network, one["image"], targets=label, **ask).maps["gradient_x_input"], one["region"])
        for label in (1, 0)
    )
    assert place.class_index == 1
    assert place.shares["corner_0_0"].value == pytest.approx(float(own["corner_0_0"].mean()), abs=1e-4)
    assert float(own["corner_0_0"].mean()) != pytest.approx(float(other["corner_0_0"].mean()), abs=1e-3)
