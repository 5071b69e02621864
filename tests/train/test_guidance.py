# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.transforms import OneOf, RandFlipd, RandRotated, RandSmoothDeformd
from PIL import Image
from torch import nn

from fedxai.bundle import Bundle
from fedxai.errors import BundleError, SettingsError
from fedxai.records import Case
from fedxai.settings import GuidanceSettings, TrainSettings, checked
from fedxai.train.engine import SiteTrainer
from fedxai.train.guidance import Guidance, Progress, due, energy_loss, pseudo_region, relevance_loss
from fedxai.train.prepare import with_regions as with_regions_beside


def trainer(bundle, cases, *terms, pseudo_regions=False, hold_relevance=False, gradient_norm=1.0, **settings):
    guidance = GuidanceSettings(
        terms=terms,
        energy_from=0.0,
        occlusion_from=0.0,
        pseudo_regions=pseudo_regions,
        hold_relevance=hold_relevance,
        gradient_norm=gradient_norm,
    )
    return SiteTrainer(
        bundle=bundle,
        cases=cases,
        site="site-1",
        settings=TrainSettings(threads=1, guidance=guidance, **settings),
        device="cpu",
    )


@pytest.fixture
def cases(phantom_cases):
    return phantom_cases["site-1"]


@pytest.fixture
def without_regions(cases):
    return {
        split: [Case(image=case.image, label=case.label, group=case.group) for case in listed]
        for split, listed in cases.items()
    }


@pytest.fixture(scope="module")
def evidence_bundle():
    return Bundle.open("brain_mri_tumor_local_evidence")


def first_update(bundle, cases, *terms, **settings):
    site = trainer(bundle, cases, *terms, local_steps=2, **settings)
    return site.train(site.weights(), round_=0, rounds=1)


def differ(one, other):
    return any(not np.array_equal(one.difference[name], other.difference[name]) for name in one.difference)


def share_that_differs(one, other):
    """Of all weights, those whose updates differ by more than a tenth of the largest: rounding moves a few."""
    a, b = (np.concatenate([part.ravel() for part in update.difference.values()]) for update in (one, other))
    return float((np.abs(a - b) > 0.1 * np.abs(a).max()).mean())


def test_the_energy_loss_is_minus_log_of_the_relevance_mass():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    image = torch.rand(3, 1, 4, 4, requires_grad=True)
    region = torch.zeros(3, 1, 4, 4)
    region[:2, :, 1:3, 1:3] = 1
    labels = torch.tensor([0, 1, 1])
    losses = energy_loss(network(image), labels, image, region)
    weight = network[1].weight.detach().reshape(2, 4, 4)
    for case in range(2):
        relevance = (weight[labels[case]] * image[case, 0].detach()).abs()
        share = relevance[1:3, 1:3].sum() / relevance.sum()
        assert losses[case].item() == pytest.approx(-float(torch.log(share)), abs=2e-3)
    assert losses[2] == 0


def test_a_step_down_the_energy_loss_raises_the_relevance_mass():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 64, 2))
    image, region = torch.rand(6, 1, 8, 8), torch.zeros(6, 1, 8, 8)
    region[..., :3, :3] = 1
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        image.requires_grad_()
        loss = energy_loss(network(image), labels, image, region).mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("space", [(8, 8), (8, 8, 4)])
def test_the_relevance_loss_is_least_where_relevance_is_the_region(space):
    region = torch.zeros(2, 1, *space)
    region[0, :, :4, :4] = 1
    right = torch.where(region > 0, 8.0, -8.0)
    right_loss, wrong_loss = relevance_loss(right, region), relevance_loss(-right, region)
    assert right_loss[0] < 0.03
    assert wrong_loss[0] > 8
    assert right_loss[1] == wrong_loss[1] == 0


@pytest.mark.parametrize("space", [(8, 8), (8, 8, 4)])
def test_a_pseudo_region_is_where_the_network_finds_an_image_relevant(space):
    relevance = torch.full((2, 1, *(size // 4 for size in space)), -3.0, requires_grad=True)
    with torch.no_grad():
        relevance[0, 0, 0, 0] = 9.0
    region = pseudo_region(relevance, space)
    assert region.shape == (2, 1, *space)
    assert not region.requires_grad
    assert region[0, 0, :4, :4].float().mean() > 0.9
    assert not region[0, 0, 6:].any()
    assert not region[1].any()


def test_each_late_term_begins_at_its_own_time_and_rises():
    settings = GuidanceSettings(
        terms=("relevance", "energy", "occlusion"),
        energy_from=0.2,
        energy_weight=2.0,
        occlusion_from=0.6,
        occlusion_weight=3.0,
    )
    weights = [due(settings, epoch=epoch, epochs=20) for epoch in range(20)]
    assert [w.get("energy", 0.0) for w in weights] == pytest.approx([0.0] * 4 + [0.5, 1.0, 1.5] + [2.0] * 13)
    assert [w.get("occlusion", 0.0) for w in weights] == pytest.approx([0.0] * 12 + [1.5] + [3.0] * 7)
    assert not weights[3], "nothing is computed of a term that weighs nothing"


@pytest.mark.parametrize("term", ["energy", "occlusion"])
def test_a_late_term_that_is_not_asked_for_weighs_nothing(term):
    assert set(due(GuidanceSettings(terms=("relevance", term)), epoch=19, epochs=20)) == {term}
    assert not due(GuidanceSettings(terms=("relevance",)), epoch=19, epochs=20)


def changed(bundle, folder, change):
    """A copy of a bundle with another list of random transforms."""
    shutil.copytree(bundle.path, folder / "changed")
    path = folder / "changed" / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["train"]["random_transforms"] = [change(step) for step in config["train"]["random_transforms"] if change]
    path.write_text(json.dumps(config))
    return Bundle.open(folder / "changed")


@pytest.fixture
def as_they_are(evidence_bundle, tmp_path):
    """Augmentation left out: MONAI draws once more for every key."""
    return changed(evidence_bundle, tmp_path, None)


@pytest.fixture
def only_losses_differ(as_they_are, monkeypatch):
    """Clipping is lifted, too."""
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *_: None)
    return as_they_are


@pytest.mark.parametrize("term", ["relevance", "energy", "occlusion"])
def test_guidance_changes_the_update_of_cases_with_regions(only_losses_differ, cases, term):
    plain, guided = first_update(only_losses_differ, cases), first_update(only_losses_differ, cases, term)
    assert guided.loss > plain.loss + 0.1
    assert share_that_differs(plain, guided) > 0.05


def test_cases_without_regions_train_plainly(as_they_are, without_regions, monkeypatch):
    """With the plain loss, and no step is clipped either."""
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *_: pytest.fail("clipped"))
    plain = first_update(as_they_are, without_regions)
    guided = first_update(as_they_are, without_regions, "relevance", "energy", "occlusion")
    assert plain.loss == guided.loss
    assert not differ(plain, guided)


def test_guided_steps_are_clipped(as_they_are, cases, monkeypatch):
    norms = []
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda _, norm: norms.append(norm))
    first_update(as_they_are, cases, "relevance", gradient_norm=2.0)
    assert norms == [2.0, 2.0]


@pytest.fixture
def with_regions(cases):
    return {split: [case for case in listed if case.region] for split, listed in cases.items()}


@pytest.mark.parametrize("term", ["energy", "occlusion"])
def test_a_late_term_counts_with_its_weight_and_what_is_due_of_it(only_losses_differ, with_regions, monkeypatch, term):
    monkeypatch.setattr(f"fedxai.train.guidance.{term}_loss", lambda *_, **__: torch.ones(16))
    losses = []
    for terms in ((), (term,)):
        guidance = {"terms": terms, f"{term}_weight": 3.0, f"{term}_from": 0.5}
        settings = checked(TrainSettings, {"threads": 1, "local_steps": 1, "guidance": guidance}, what="train")
        site = SiteTrainer(bundle=only_losses_differ, cases=with_regions, site="site-1", settings=settings)
        losses.append(site.train(site.weights(), round_=8, rounds=16).loss)
    assert losses[1] - losses[0] == pytest.approx(3.0 / 2, abs=1e-4), "the first of two rounds in which it rises"


def test_the_occlusion_term_hides_with_the_lower_end_of_the_input_range(
    evidence_bundle, with_regions, monkeypatch, tmp_path
):
    bundle = changed(evidence_bundle, tmp_path, None)
    config = json.loads((bundle.path / "configs" / "explain.json").read_text())
    (bundle.path / "configs" / "explain.json").write_text(json.dumps({**config, "input_range": [-2.0, 1.0]}))
    asked = []

    def spy(network, logits, *_, black):
        asked.append(black)
        return 0 * logits.sum(dim=1)

    monkeypatch.setattr("fedxai.train.guidance.occlusion_loss", spy)
    first_update(Bundle.open(bundle.path), with_regions, "occlusion")
    assert asked == [-2.0] * 2


@pytest.fixture
def left_half(monkeypatch):
    """The network finds the left half of every image relevant."""

    def found(relevance, space):
        region = torch.zeros(len(relevance), 1, *space, dtype=torch.bool)
        region[..., : space[-1] // 2] = True
        return region

    monkeypatch.setattr("fedxai.train.guidance.pseudo_region", found)


BOTH = ("relevance", "energy")


@pytest.mark.parametrize("late", ["energy", "occlusion"])
def test_a_case_without_a_region_is_rewarded_for_its_pseudo_region_where_asked(
    only_losses_differ, without_regions, left_half, late
):
    plain = first_update(only_losses_differ, without_regions, "relevance", late)
    guided = first_update(only_losses_differ, without_regions, "relevance", late, pseudo_regions=True)
    assert guided.loss > plain.loss + 0.1, "relevance alone does not count such a case"
    assert share_that_differs(plain, guided) > 0.05


def test_a_case_with_a_region_keeps_it(only_losses_differ, with_regions, left_half):
    own = first_update(only_losses_differ, with_regions, *BOTH)
    pseudo = first_update(only_losses_differ, with_regions, *BOTH, pseudo_regions=True)
    assert own.loss == pseudo.loss
    assert not differ(own, pseudo)


def attached(network, *terms, layer, **settings):
    """What ends the guidance of a round's steps, and the trainer whose loss it is."""
    late = {"energy_from": 0.0, "occlusion_from": 0.0}
    guidance = Guidance(GuidanceSettings(terms=terms, **late, **settings), network=network, relevance_layer=layer)
    site = SimpleNamespace(
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"]),
        add_event_handler=lambda *_: None,
        loss_function=nn.CrossEntropyLoss(reduction="none"),
    )
    return guidance.attach(site, Progress(done=0, epochs=1)), site


def step(network, site, images, regions, given):
    """The loss of one step."""
    batch = {"image": images, "label": torch.zeros(len(images), dtype=torch.long), "region": regions}
    image, labels = site.prepare_batch({**batch, "has_region": given})
    site.state = SimpleNamespace(batch={**batch, "has_region": given}, iteration=1, epoch=1, output={"image": image})
    return site.loss_function(network(image), labels)


@pytest.mark.parametrize("missing", ["mask", "all that is in it"])
@pytest.mark.parametrize(("given", "moved"), [((0, 0, 0), False), ((0, 1, 0), True)])
@pytest.mark.parametrize("hold", [True, False])
def test_a_held_relevance_learns_from_regions_alone(tiny, given, moved, hold, missing):
    """Else the plain loss of a case without a region moves it too; the rest of the network learns either way."""
    images, layers = torch.randn(3, 1, 8, 8), {"relevance": tiny[0].weight, "rest": tiny[2].weight}
    end, site = attached(tiny, "relevance", layer="0", hold_relevance=hold, relevance_weight=1e-9)
    if missing == "mask":
        step(tiny, site, images, squares(3), torch.tensor(given)).backward()
    else:  # augmentation may have moved it out of the image
        step(tiny, site, images, squares(3) * torch.tensor(given).view(-1, 1, 1, 1), torch.ones(3)).backward()
    end()
    found = {name: weight.grad.clone() if weight.grad is not None else 0 * weight for name, weight in layers.items()}
    tiny.zero_grad()
    plain = nn.functional.cross_entropy(tiny(images), torch.zeros(3, dtype=torch.long), reduction="none")
    (plain * (torch.tensor(given) if hold else 1)).sum().div(3).backward()
    torch.testing.assert_close(found["relevance"], layers["relevance"].grad, rtol=1e-4, atol=1e-6)
    assert bool(found["relevance"].abs().max() > 1e-6) == (moved or not hold)
    assert found["rest"].any()


@pytest.fixture
def blank_regions(cases, tmp_path):
    """Masks without anything in them, as of healthy patients."""
    first = cases["training"][0].region
    blank = tmp_path / f"blank{first.suffix}"
    Image.new("L", Image.open(first).size).save(blank)
    return {split: [replace(case, region=blank) for case in listed] for split, listed in cases.items()}


@pytest.mark.parametrize("regions", ["without_regions", "blank_regions"])
@pytest.mark.parametrize("hold", [True, False])
def test_a_site_without_regions_leaves_a_held_relevance_as_it_came(
    only_losses_differ, request, left_half, hold, regions
):
    """Bit by bit, the optimiser's decay and all terms notwithstanding, and so does all that it is computed from."""
    terms = ("relevance", "energy", "occlusion")
    cases = request.getfixturevalue(regions)
    update = first_update(only_losses_differ, cases, *terms, pseudo_regions=True, hold_relevance=hold)
    moved = {name.split(".")[0] for name, difference in update.difference.items() if difference.any()}
    assert moved == {"evidence"} | (set() if hold else {"features", "relevance", "context"})


def test_a_site_with_regions_moves_a_held_relevance(only_losses_differ, with_regions):
    update = first_update(only_losses_differ, with_regions, "relevance", hold_relevance=True)
    assert {name.split(".")[0] for name, value in update.difference.items() if value.any()} == {
        "features",
        "context",
        "relevance",
        "evidence",
    }


@pytest.mark.parametrize("kind", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)])
def test_running_statistics_cannot_be_held(kind):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), kind, nn.Conv2d(4, 1, 1), nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(BundleError, match=r"hold_relevance needs a network without running statistics.* got '1'"):
        attached(network, "relevance", layer="2", hold_relevance=True)
    attached(network, "relevance", layer="2")[0]()


def test_a_network_that_is_all_relevance_cannot_be_held():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten())
    end, site = attached(network, "relevance", layer="0", hold_relevance=True)
    with pytest.raises(BundleError, match="hold_relevance needs a network in which something besides '0' can learn"):
        step(network, site, torch.rand(2, 1, 8, 8), squares(2), torch.zeros(2))
    end()


def test_the_late_terms_ask_about_the_whole_network_also_where_the_relevance_is_held(tiny, left_half):
    """As of cases whose region is given: the energy of a map without the relevance's part would be another."""
    images, everyone, nobody = torch.rand(3, 1, 8, 8), torch.ones(3), torch.zeros(3)
    left = torch.zeros(3, 1, 8, 8)
    left[..., :4] = 1
    asked_for = {"hold_relevance": True, "pseudo_regions": True, "relevance_weight": 1e-9}
    losses = []
    for regions, given in ((left, everyone), (0 * left, nobody)):
        end, site = attached(tiny, "relevance", "energy", layer="0", **asked_for)
        losses.append(step(tiny, site, images.clone(), regions, given))
        end()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)


def test_a_relevance_is_held_for_what_regions_teach_it():
    with pytest.raises(SettingsError, match=r"^guidance: hold_relevance needs .* got terms \['energy'\]$"):
        checked(GuidanceSettings, {"terms": ["energy"], "hold_relevance": True}, what="guidance")


@pytest.mark.parametrize("terms", [("relevance",), ("energy", "occlusion"), ()])
def test_pseudo_regions_are_learned_from_regions(terms):
    with pytest.raises(SettingsError, match=r"^guidance: pseudo_regions needs .* a term that uses them, .* got terms"):
        checked(GuidanceSettings, {"terms": terms, "pseudo_regions": True}, what="guidance")


def test_the_number_of_training_cases_does_not_depend_on_regions(evidence_bundle, cases, without_regions):
    assert trainer(evidence_bundle, cases, "energy").training_cases == (
        trainer(evidence_bundle, without_regions, "energy").training_cases
    )


def test_the_region_moves_with_the_image(evidence_bundle, cases):
    """What is bright in an image whose region is itself stays inside the region through every augmentation."""
    bright = [Case(image=case.region, region=case.region, label=case.label, group="p") for case in cases["training"]]
    site = trainer(evidence_bundle, {**cases, "training": bright}, "relevance")
    parser = site._parser()
    site._feed(parser, "train", "training")
    for batch in parser.get_parsed_content("train#dataloader"):
        image, region = torch.as_tensor(batch["image"]), torch.as_tensor(batch["region"]) > 0
        assert image[region].mean() > 0.8
        assert image[~region].mean() < 0.02


def test_a_random_transform_that_leaves_the_region_behind_is_refused(evidence_bundle, cases, tmp_path):
    def image_only(step):
        return {**step, "keys": ["image"], **({"mode": "bilinear"} if "mode" in step else {})}

    with pytest.raises(BundleError, match="'region' among the keys .* RandFlipd has image"):
        first_update(changed(evidence_bundle, tmp_path, image_only), cases, "energy")


def test_the_relevance_term_needs_a_relevance_layer(brain_bundle, cases):
    with pytest.raises(BundleError, match="needs relevance_layer in explain.json"):
        first_update(brain_bundle, cases, "relevance")


def test_nothing_listens_to_the_network_afterwards(evidence_bundle, cases):
    site = trainer(evidence_bundle, cases, "relevance", local_steps=1)
    site.train(site.weights(), round_=0, rounds=1)
    assert not site.network.relevance._forward_hooks


def asked(terms, network, regions, *, iteration=1, has_region=None, layer="0", **settings):
    """What guidance adds to one step over these regions ``(B, 1, 8, 8)``."""
    images = torch.rand(len(regions), 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    state = SimpleNamespace(
        batch={"region": regions, "has_region": torch.ones(len(regions)) if has_region is None else has_region},
        iteration=iteration,
        epoch=1,
        output={"image": images},
    )
    late = {"energy_from": 0.0, "occlusion_from": 0.0}
    guidance = Guidance(GuidanceSettings(terms=terms, **late, **settings), network=network, relevance_layer=layer)
    labels = torch.zeros(len(regions), dtype=torch.long)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if guidance._layer is not None:
            guidance._layer.register_forward_hook(guidance._listen)
        logits = network(images)
        return guidance._terms(SimpleNamespace(state=state), logits, labels, Progress(done=0, epochs=1))


def squares(number):
    regions = torch.zeros(number, 1, 8, 8)
    regions[..., 2:5, 2:5] = 1
    return regions


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.parametrize("term", ["relevance", "energy"])
def test_a_region_that_is_empty_is_not_averaged_in(tiny, term):
    """Augmentation may have moved it out of the image."""
    regions = squares(3)
    [one] = asked((term,), tiny, regions[:1])
    [both] = asked((term,), tiny, regions * torch.tensor([1, 0, 0]).view(-1, 1, 1, 1))
    assert both.item() == pytest.approx(one.item(), rel=1e-5)
    assert not asked((term,), tiny, 0 * regions)


def test_a_case_that_is_said_to_have_no_region_has_none_whatever_its_mask_holds(tiny):
    assert not asked(("relevance", "energy"), tiny, squares(2), has_region=torch.zeros(2))


def test_a_relevance_layer_that_is_never_called_is_named():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    network[0].aside = nn.Conv2d(1, 1, 1)
    with pytest.raises(BundleError, match="relevance_layer '0.aside' must be called by the network's forward"):
        asked(("relevance",), network, squares(2), layer="0.aside")


def test_the_late_terms_count_in_a_rounds_first_step_and_every_so_many_after_it(tiny):
    counts = [len(asked(("energy",), tiny, squares(2), iteration=step, late_every=3)) for step in range(1, 8)]
    assert counts == [1, 0, 0, 1, 0, 0, 1]


class Moody(nn.Sequential):
    """Reads the region alone, and in training mode answers by the batch and by chance too."""

    def __init__(self):
        body = (nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 2))
        super().__init__(*body)
        with torch.no_grad():
            weight = self[4].weight.unflatten(1, (4, 8, 8))
            weight[..., 5:], weight[..., :2], weight[..., 5:, :], weight[..., :2, :] = 0, 0, 0, 0


@pytest.mark.parametrize("term", ["energy", "occlusion"])
def test_the_late_terms_do_not_depend_on_the_batch_or_on_chance(term):
    """A network that reads the region alone has the least loss, whatever its layers do in training mode."""
    torch.manual_seed(0)
    network = Moody()
    [loss] = asked((term,), network.train(), squares(6))
    assert loss.item() < 0.4
    assert all(module.training for module in network.modules())


def test_what_training_answers_is_taken_where_evaluation_answers_alike(tiny):
    guidance = Guidance(GuidanceSettings(terms=("energy",)), network=tiny, relevance_layer=None)
    images = torch.rand(2, 1, 8, 8)
    logits = tiny(images)
    assert guidance._in_evaluation(logits, images) is logits
    moody = Moody().train()
    guidance = Guidance(GuidanceSettings(terms=("energy",)), network=moody, relevance_layer=None)
    answer = guidance._in_evaluation(moody(images), images)
    torch.testing.assert_close(answer, moody.eval()(images))


def test_a_layer_that_begins_to_act_by_chance_while_training_is_noticed():
    """As a gate does, which is open everywhere until its relevance has learned something."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(64, 2)).train()
    guidance = Guidance(GuidanceSettings(terms=("energy",)), network=network, relevance_layer=None)
    images = torch.rand(2, 1, 8, 8)
    logits = network(images)
    assert guidance._in_evaluation(logits, images) is logits
    network[1].p = 0.5
    answer = guidance._in_evaluation(network(images), images)
    torch.testing.assert_close(answer, network.eval()(images))


def test_a_layer_that_puts_out_no_relevance_is_named_with_its_shape():
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(192, 2))
    with pytest.raises(BundleError, match=r"relevance_layer '0' must put out \(B, 1, \*cells\), got \(2, 3, 8, 8\)"):
        asked(("relevance",), network, squares(2))


def test_the_whole_network_is_no_relevance_layer(tiny):
    with pytest.raises(BundleError, match="a module of the network, got ''"):
        Guidance(GuidanceSettings(terms=("relevance",)), network=tiny, relevance_layer="")


def test_the_bundles_own_way_to_prepare_a_batch_is_kept(tiny):
    guidance = Guidance(GuidanceSettings(terms=("energy",)), network=tiny, relevance_layer=None)
    own = SimpleNamespace(
        prepare_batch=lambda batch, *_, **__: (2 * batch["image"], batch["label"]),
        add_event_handler=lambda *_: None,
        loss_function=None,
    )
    guidance.attach(own, Progress(done=0, epochs=1))
    image, _ = own.prepare_batch({"image": torch.ones(1), "label": torch.zeros(1)})
    assert (image.item(), image.requires_grad) == (2.0, True)
    own.prepare_batch = lambda *_, **__: (1, 2, (), {})
    guidance.attach(own, Progress(done=0, epochs=1))
    with pytest.raises(BundleError, match="an image and a label, prepare_batch gives 4"):
        own.prepare_batch({})


def test_a_background_made_before_training_leaves_training_its_own_data(as_they_are, with_regions):
    """A site that comes back between rounds is asked to explain first."""
    site = trainer(as_they_are, with_regions, "relevance", local_steps=1)
    plain = site.train(site.weights(), round_=0, rounds=1)
    other = trainer(as_they_are, with_regions, "relevance", local_steps=1)
    assert other.background(["integrated_gradients_mean"]) is not None
    other.evaluate("training", intervals=False)
    assert not differ(plain, other.train(other.weights(), round_=0, rounds=1))


def test_guidance_trains_in_float32_whatever_the_bundle_says(evidence_bundle, cases, tmp_path):
    """Its gradients are clipped before MONAI would take the scale of float16 off them."""
    bundle = changed(evidence_bundle, tmp_path, lambda step: step)
    path = bundle.path / "configs" / "train.json"
    config = json.loads(path.read_text())
    config["train"]["trainer"]["amp"] = True
    path.write_text(json.dumps(config))
    bundle = Bundle.open(bundle.path)
    assert "cuda" in trainer(bundle, cases)._parser().get("train#trainer#amp")
    assert trainer(bundle, cases, "energy")._parser().get("train#trainer#amp") is False


@pytest.mark.parametrize(
    "inside",
    [OneOf([RandFlipd("image"), RandRotated("image")]), RandSmoothDeformd("image", (8, 8), (3, 3))],
    ids=["OneOf", "RandSmoothDeformd"],
)
def test_a_random_transform_inside_another_is_seen(inside):
    with pytest.raises(BundleError, match="'region' among the keys of every random spatial transform"):
        with_regions_beside([inside], None)
    assert len(with_regions_beside([OneOf([RandFlipd(("image", "region"))])], None)) == 2


@pytest.mark.parametrize(("steps", "epochs"), [(None, [(2, 4), (3, 4)]), (2, [(1, 2)])])
def test_a_late_term_knows_in_which_of_all_epochs_it_is(as_they_are, cases, monkeypatch, steps, epochs):
    """The second of two rounds of two epochs are epochs 2 and 3 of 4; a set number of steps is one epoch."""
    asked_for = []
    monkeypatch.setattr(
        "fedxai.train.guidance.due", lambda _, *, epoch, epochs: asked_for.append((epoch, epochs)) or {}
    )
    site = trainer(as_they_are, cases, "energy", local_epochs=2, local_steps=steps, batch_size=16)
    site.train(site.weights(), round_=1, rounds=2)
    assert sorted(set(asked_for)) == epochs


def test_the_weight_of_the_relevance_term_is_the_set_one(tiny):
    [once], [thrice] = (asked(("relevance",), tiny, squares(2), relevance_weight=w) for w in (1.0, 3.0))
    assert thrice.item() == pytest.approx(3 * once.item(), rel=1e-6)


@pytest.mark.parametrize("space", [(8, 12), (8, 4, 8)])
def test_the_relevance_loss_is_dice_and_ten_times_the_entropy_over_cells(space):
    """Cells of 4 voxels an axis, each held against the share of it that lies in the region."""
    random = torch.Generator().manual_seed(0)
    relevance = torch.randn(2, 1, *(side // 4 for side in space), generator=random)
    region = (torch.rand(2, 1, *space, generator=random) > 0.6).float()
    for case, loss in enumerate(relevance_loss(relevance, region).tolist()):
        dice_over, dice_under, entropy, cells = 0.0, 0.0, 0.0, 0
        for cell in np.ndindex(*relevance.shape[2:]):
            a = 1 / (1 + np.exp(-float(relevance[case, 0][cell])))
            within = tuple(slice(4 * at, 4 * at + 4) for at in cell)
            wanted = float(region[case, 0][within].mean())
            dice_over, dice_under = dice_over + 2 * a * wanted, dice_under + a + wanted
            entropy -= wanted * np.log(a) + (1 - wanted) * np.log(1 - a)
            cells += 1
        assert loss == pytest.approx(1 - (dice_over + 1) / (dice_under + 1) + 10 * entropy / cells, rel=1e-4)


def test_the_energy_loss_adds_up_channels_with_their_signs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 2))
    image = torch.rand(1, 2, 4, 4, requires_grad=True)
    region = torch.zeros(1, 1, 4, 4)
    region[..., 1:3, 1:3] = 1
    weight = network[1].weight.detach()[1].reshape(2, 4, 4)
    relevance = (weight * image[0].detach()).sum(dim=0).abs()
    share = relevance[1:3, 1:3].sum() / relevance.sum()
    loss = energy_loss(network(image), torch.tensor([1]), image, region)
    assert loss.item() == pytest.approx(-float(torch.log(share + 1e-4)), abs=1e-4)
