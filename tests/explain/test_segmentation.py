# SPDX-License-Identifier: Apache-2.0
"""In a segmentation the summed logit of a class over the region predicted as that class is explained."""

import pytest
import torch
from torch import nn

from fedxai.errors import ExplanationError
from fedxai.explain import METHODS, Question, explain_batch
from fedxai.explain.occlusion import Occlusion


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def study(request, make_study):
    return make_study("segmenter", request.param)


def restated(study, targets, regions=None):
    """f over the given regions, or over what is predicted, and its gradient, one case at a time."""
    gradients, values = [], []
    for index, target in enumerate(targets.tolist()):
        x = study.inputs[index : index + 1].clone().requires_grad_()
        logits = study.network.eval()(x)
        region = logits[0].argmax(dim=0) == target if regions is None else regions[index]
        value = logits[0, target][region].sum()
        gradients.append(torch.autograd.grad(value, x)[0])
        values.append(value.detach())
    return torch.stack(values), torch.cat(gradients)


def test_the_gradient_is_that_of_the_summed_logit_over_the_region(study):
    answer = explain_batch(study.network, study.inputs, targets=study.targets, methods=["gradient_x_input"])
    _, gradient = restated(study, study.targets)
    assert gradient.any()
    assert torch.allclose(answer.maps["gradient_x_input"], gradient * study.inputs, atol=1e-5)
    assert answer.logits.shape[:2] == (3, 3)
    assert answer.logits.ndim == study.inputs.ndim


def test_the_gradient_is_that_of_the_summed_logit_over_a_given_region(study):
    cells = study.network(study.inputs).shape[2:]
    regions = torch.rand(3, *cells, generator=torch.Generator().manual_seed(0)) > 0.7
    asked = Question(classes=study.targets, region=regions)
    answer = explain_batch(study.network, study.inputs, targets=asked, methods=["gradient_x_input", "saliency"])
    _, gradient = restated(study, study.targets, regions)
    assert torch.allclose(answer.maps["gradient_x_input"], gradient * study.inputs, atol=1e-5)
    assert not torch.allclose(gradient, restated(study, study.targets)[1], atol=1e-3)


def test_without_targets_the_most_frequent_foreground_class_of_each_case_is_explained(study):
    answer = explain_batch(study.network, study.inputs, methods=["saliency"])
    for logits, target in zip(answer.logits, answer.targets.tolist(), strict=True):
        found = logits.argmax(dim=0).flatten().bincount(minlength=3)
        assert target == int(found[1:].argmax()) + 1


def test_the_region_stays_when_the_image_changes(study):
    """With everything hidden the same voxels are read, whatever is predicted there now."""
    hide_all = Occlusion(window=40)
    got = explain_batch(study.network, study.inputs, targets=study.targets, methods=[hide_all]).maps["occlusion"]
    values, _ = restated(study, study.targets)
    with torch.no_grad():
        regions = study.network.eval()(study.inputs).argmax(dim=1)
        black = study.network(torch.zeros_like(study.inputs))
    for case, target in enumerate(study.targets.tolist()):
        left = black[case, target][regions[case] == target].sum()
        assert torch.allclose(got[case], values[case] - left, rtol=1e-4, atol=1e-4)


class Threshold(nn.Module):
    """Logits ``(B, K, *spatial)``: class 0 where the image is below 0.5, class 1 elsewhere."""

    def __init__(self, *, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return (x - 0.5) * torch.tensor([1.0] if self.classes == 1 else [-1.0, 1.0]).view(-1, 1, 1)


@pytest.mark.parametrize("classes", [1, 2])
def test_only_the_region_has_relevance(classes):
    """A single channel is the foreground where its logit is above 0."""
    x = torch.rand(2, 1, 6, 6)
    answer = explain_batch(Threshold(classes=classes), x, methods=["saliency"])
    assert torch.equal(answer.maps["saliency"], (x > 0.5).float())
    assert answer.targets.tolist() == [classes - 1] * 2


@pytest.mark.parametrize("classes", [1, 2])
def test_a_case_without_foreground_gets_a_map_of_zeros(classes):
    answer = explain_batch(Threshold(classes=classes), torch.rand(2, 1, 6, 6) / 3, methods=["saliency", "occlusion"])
    assert not answer.maps["saliency"].any()
    assert not answer.maps["occlusion"].any()


def test_what_is_not_finite_outside_the_region_does_not_spread():
    logits = torch.tensor([[[[3.0, torch.nan]]]])
    question = Question(classes=torch.tensor([0]), region=torch.tensor([[[True, False]]]))
    assert question.of(logits).tolist() == [3.0]


def test_a_class_outside_the_head_is_refused(study):
    with pytest.raises(ExplanationError, match=r"0\.\.2, got 3"):
        explain_batch(study.network, study.inputs, targets=3, methods=["saliency"])


def test_layers_of_a_segmentation_are_read(study):
    reading = [name for name in METHODS if METHODS.make(name).needs_layer]
    answer = explain_batch(study.network, study.inputs, targets=1, methods=reading, target_layer="body")
    assert answer.passes == 1
    assert all(attribution.any() for attribution in answer.maps.values())


def test_the_question_of_other_cases_another_grid_or_another_head_is_refused(study):
    cases, *cells = study.network(study.inputs)[:, 0].shape
    region = torch.ones(cases, *cells, dtype=torch.bool)
    classes = torch.ones(cases, dtype=torch.long)
    for question, rule in (
        (Question(classes=classes[:1], region=region[:1]), "question about cases and cells"),
        (Question(classes=classes, region=region[..., :-1]), "question about cases and cells"),
        (Question(classes=classes), "question about cases and cells"),
        (Question(classes=7 * classes, region=region), r"class indices in 0\.\.2, got 7"),
    ):
        with pytest.raises(ExplanationError, match=rule):
            explain_batch(study.network, study.inputs, targets=question, methods=["saliency"])


def test_the_probability_over_the_region_and_how_much_of_it_is_kept_by_hand():
    before = torch.tensor([[[2.0, 2.0, -1.0, -1.0]], [[-1.0, -1.0, -1.0, -1.0]]])  # (2, 1, 4): one channel
    question = Question.about(before, torch.tensor([0, 0]))
    assert question.region is not None
    assert question.region.tolist() == [[True, True, False, False], [False] * 4]
    after = torch.tensor([[[0.0, -2.0, 3.0, 3.0]], [[1.0, 1.0, 1.0, 1.0]]])
    shares = (torch.sigmoid(torch.tensor(0.0)) + torch.sigmoid(torch.tensor(-2.0))) / 2
    probability, kept = question.probability(after), question.kept(after + 0.1)
    assert probability[0].item() == pytest.approx(shares.item())
    assert kept[0].item() == pytest.approx(2 * 1 / (3 + 2)), "one voxel of two before and three now"
    assert probability.isnan().tolist() == kept.isnan().tolist() == [False, True]
    several = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 1.0, -1.0], [0.0, 0.0, 0.0]]])  # (1, 3, 3): three classes
    chosen = Question.about(several, torch.tensor([1]))
    wanted = several.softmax(dim=1)[0, 1, :2].mean()
    assert chosen.probability(several).item() == pytest.approx(wanted.item())
    assert chosen.kept(several).item() == 1.0
