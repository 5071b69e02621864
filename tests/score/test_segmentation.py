# SPDX-License-Identifier: Apache-2.0
"""Trust tests and honesty battery of a segmentation, class by class: of a network whose reason is known."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from fedxai.explain import Method
from fedxai.explain.windowed import Windowed
from fedxai.records import Honesty
from fedxai.score.examine import examine
from fedxai.score.honesty import HonestyBattery

pytestmark = pytest.mark.slow
SIDE = 18
TESTS = ["randomisation", "faithfulness", "robustness", "localisation"]


class Bright(nn.Module):
    """Segments what is bright as class 1 and what is dark as class 2, each voxel by a small box around it.

    Where ``tempted`` it looks at class 2 through a mark in a corner: without the mark nothing is class 2.
    """

    def __init__(self, *, tempted: bool = False) -> None:
        super().__init__()
        self.see = nn.Conv3d(1, 2, 3, padding=1, padding_mode="replicate")
        self.tempted = tempted
        with torch.no_grad():
            self.see.weight[0] = 1 / 27
            self.see.weight[1] = -1 / 27
            self.see.bias.copy_(torch.tensor([-0.7, 0.3]))

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, 3, *spatial)``."""
        bright, dark = (20 * self.see(image)).unbind(dim=1)
        if self.tempted:
            mark = image[:, 0, :4, :4, :4].mean(dim=(1, 2, 3)).view(-1, 1, 1, 1)
            dark = dark + 40 * (mark - 0.9)
        return torch.stack([torch.zeros_like(bright), bright, dark], dim=1)


def volumes(cases: int, *, marked: bool = True) -> dict:
    """A bright and a dark ball off the middle of grey tissue, each case once a class, a patient a case."""
    random = torch.Generator().manual_seed(0)
    axis = torch.arange(SIDE).float()
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    images, regions = [], []
    for _ in range(cases):
        image = 0.5 + 0.2 * (avg_pool3d(torch.rand(1, SIDE, SIDE, SIDE, generator=random), 3, 1, 1) - 0.5)
        for value, low in ((0.95, 4), (0.05, 11)):
            centre = low + 3 * torch.rand(3, generator=random)
            inside = ((grid - centre[:, None, None, None]) ** 2).sum(dim=0) <= 9
            image[:, inside] = value
            regions.append(inside[None])
        image[:, :4, :4, :4] = 0.95 if marked else 0.5
        images += [image, image]
    return {
        "image": torch.stack(images),
        "label": torch.arange(2 * cases) % 2 + 1,
        "region": torch.stack(regions),
        "has_region": torch.ones(2 * cases, dtype=torch.bool),
        "group": [f"p{place // 2}" for place in range(2 * cases)],
    }


def examined(network: nn.Module, batch: dict, methods: list, **counts: int):
    return examine(
        network, [batch], split="test", methods=methods, target_class="label", classes=(1, 2), **counts
    ).classes


@pytest.fixture(scope="module")
def verdicts(bad_methods):
    """By class, method and test."""
    methods: list[str | Method] = ["gradient_x_input", bad_methods["edge_detector"], bad_methods["centred_gaussian"]]
    classes = examined(Bright(), volumes(7), methods, trust_cases=5)
    return {
        part.class_index: {m.method: {test.name: test for test in m.trust} for m in part.methods} for part in classes
    }


@pytest.mark.parametrize("label", [1, 2])
def test_a_right_method_passes_for_each_class(verdicts, label):
    tests = verdicts[label]["gradient_x_input"]
    assert tests["robustness"].outcome == tests["localisation"].outcome == "passed"
    assert tests["randomisation"].value.n == 5
    assert tests["localisation"].value.n == 7


def test_gradient_x_input_is_faithful_where_brightness_is_the_reason(verdicts):
    """Of class 2 it cannot be: what is dark there is almost 0, and so is its product with the gradient."""
    assert verdicts[1]["gradient_x_input"]["faithfulness"].outcome == "passed"
    assert verdicts[1]["gradient_x_input"]["faithfulness"].value.value > 0.02


@pytest.mark.parametrize("label", [1, 2])
def test_maps_that_never_ask_the_network_fail(verdicts, label):
    for method in ("edge_detector", "centred_gaussian"):
        assert verdicts[label][method]["randomisation"].outcome == "failed"
    assert verdicts[label]["centred_gaussian"]["faithfulness"].outcome == "failed"
    assert verdicts[label]["centred_gaussian"]["localisation"].outcome == "failed"


def test_the_verdict_over_all_classes_is_of_the_cases_of_each(verdicts):
    explanation = examine(
        Bright(),
        [volumes(4)],
        split="test",
        methods=["gradient_x_input"],
        target_class="label",
        classes=(1, 2),
        trust_cases=3,
    )
    together = {test.name: test.value for test in explanation.methods[0].trust}
    assert together["randomisation"].n == 6
    assert [test.value.n for part in explanation.classes for test in part.methods[0].trust[:1]] == [3, 3]


def test_a_class_that_is_nowhere_segmented_is_undecided_and_the_other_goes_on():
    blind = Bright()
    with torch.no_grad():
        blind.see.bias[1] = -9
    found = examined(blind, volumes(5), ["gradient_x_input"], trust_cases=5, honesty_cases=4)
    outcomes = [{test.name: test.outcome for test in part.methods[0].trust} for part in found]
    assert outcomes[1] == dict.fromkeys(TESTS, "undecided")
    assert outcomes[0]["robustness"] == "passed"
    assert {figure.n for name, figure in found[1].honesty.figures.items() if name != "swap_kept"} == {0}


def honesty(network: nn.Module, *, marked: bool = True) -> dict[int, Honesty]:
    classes = examined(network, volumes(6, marked=marked), ["saliency"], honesty_cases=6)
    return {part.class_index: part.honesty for part in classes}


def value(found: Honesty, name: str) -> float:
    return found.figures[name].value


@pytest.mark.parametrize("label", [1, 2])
def test_a_network_that_reads_the_region_passes_the_battery(label):
    found = honesty(Bright())[label]
    assert found.cases == 6
    assert value(found, "drop_region") > 0.5
    assert value(found, "drop_elsewhere") < 0.01
    assert value(found, "swap_kept") > 0.9
    assert value(found, "occlusion_mass") > 0.02


def test_what_is_kept_is_the_overlap_of_the_segmentation():
    """The mark is bright as well: of class 1 it is segmented, and lost when the outside turns black."""
    found = honesty(Bright(), marked=True)[1]
    without = honesty(Bright(), marked=False)[1]
    assert value(found, "blank_kept") < 0.9
    assert value(without, "blank_kept") > 0.95


def test_a_network_that_looks_at_the_mark_is_found_out():
    tempted, honest = (honesty(Bright(tempted=tempted), marked=True)[2] for tempted in (True, False))
    assert value(honest, "blank_kept") < value(honest, "swap_kept")  # black is class 2
    assert value(tempted, "blank_kept") < 0.2
    assert value(tempted, "occlusion_mass") < value(honest, "occlusion_mass") / 2


def test_both_classes_are_asked_about_in_their_own_cases():
    network = Bright()
    battery = HonestyBattery(network, limit=2, of_class=2)
    battery.add(volumes(5))
    assert battery.result().cases == 2
    assert network.training


def test_a_window_that_slides_is_asked_as_the_whole():
    sliding = Windowed(Bright(), SlidingWindowInferer((16, 16, 16), overlap=0.5))
    batch = volumes(2)
    slid, whole = (
        examined(network, batch, ["gradient_x_input"], trust_cases=2, honesty_cases=2)[0]
        for network in (sliding, Bright())
    )
    assert slid.honesty.cases == whole.honesty.cases == 2
    assert slid.methods[0].scores["deletion"].n == 2
    assert slid.methods[0].scores["deletion"].value == pytest.approx(
        whole.methods[0].scores["deletion"].value, abs=0.05
    )


def test_a_method_that_cannot_explain_a_larger_volume_does_not_score_it_and_the_others_go_on():
    """A layer is not read over windows; the first volume, in which methods are tried, had the window's size."""
    small = volumes(2)
    padded = {key: nn.functional.pad(small[key], (0, 0, 0, 0, 0, 4)) for key in ("image", "region")}
    cases, sliding = [], Windowed(Bright(), SlidingWindowInferer((SIDE,) * 3))
    ask = {"split": "test", "target_layer": "see", "target_class": "label", "classes": (1, 2), "trust_cases": 4}
    for methods in (["grad_cam", "gradient_x_input"], ["grad_cam"]):
        explanation = examine(sliding, [small, small | padded], methods=methods, sink=cases.append, **ask)
        for part, n in [(explanation, 4), *((part, 2) for part in explanation.classes)]:
            counts = {m.method: (m.scored, m.unscored, m.scores["relevance_mass"].n) for m in part.methods}
            assert counts == dict(zip(methods, [(n, n, n), (2 * n, 0, 2 * n)], strict=False))
            # what is told of one method tells no other's few cases: levels are over all of them
            assert {(m.chance["relevance_mass"].n, m.centred["relevance_mass"].n) for m in part.methods} == {
                (2 * n,) * 2
            }
            assert len({(m.chance["relevance_mass"], m.centred["relevance_mass"]) for m in part.methods}) == 1
    assert [list(case.maps) for case in cases] == [["grad_cam", "gradient_x_input"]] * 4 + [
        ["gradient_x_input"]
    ] * 4 + [["grad_cam"]] * 4 + [[]] * 4
