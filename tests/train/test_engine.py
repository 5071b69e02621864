# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data.meta_obj import get_track_meta
from PIL import Image

from fedxai.bundle import Bundle
from fedxai.errors import CohortError, TrainingError
from fedxai.records import Case
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer


def trainer(bundle, cases, **settings):
    state_file = settings.pop("state_file", None)
    return SiteTrainer(
        bundle=bundle,
        cases=cases,
        site="site-1",
        settings=TrainSettings(threads=1, **settings),
        device="cpu",
        state_file=state_file,
    )


@pytest.fixture
def cases(phantom_cases):
    return phantom_cases["site-1"]


def test_the_same_seed_gives_the_same_update_twice(brain_bundle, cases):
    updates = []
    for _ in range(2):
        site = trainer(brain_bundle, cases, local_steps=2)
        updates.append(site.train(site.weights(), round_=0, rounds=2).difference)
    assert all(np.array_equal(updates[0][name], updates[1][name]) for name in updates[0])


def test_another_seed_gives_another_update(brain_bundle, cases):
    first, second = (
        trainer(brain_bundle, cases, local_steps=1),
        trainer(brain_bundle, cases, local_steps=1, seed=1),
    )
    weights = first.weights()
    a = first.train(weights, round_=0, rounds=1).difference
    b = second.train(weights, round_=0, rounds=1).difference
    assert any(not np.array_equal(a[name], b[name]) for name in a)


def test_a_process_started_anew_each_round_gives_what_a_long_one_gives(brain_bundle, cases, tmp_path):
    """With fewer threads than sites FLARE starts a fresh process for every task."""
    long_lived = trainer(brain_bundle, cases, local_steps=2)
    start = weights = long_lived.weights()
    for round_ in range(3):
        difference = long_lived.train(weights, round_=round_, rounds=3).difference
        weights = {name: weights[name] + difference[name] for name in weights}
    anew = start
    for round_ in range(3):
        site = trainer(brain_bundle, cases, local_steps=2, state_file=tmp_path / "optimizer.pt")
        difference = site.train(anew, round_=round_, rounds=3).difference
        anew = {name: anew[name] + difference[name] for name in anew}
    assert all(np.array_equal(weights[name], anew[name]) for name in weights)


def test_the_optimiser_state_matters(brain_bundle, cases):
    kept, dropped = (trainer(brain_bundle, cases, local_steps=2, keep_optimizer=keep) for keep in (True, False))
    weights = kept.weights()
    for site in (kept, dropped):
        site.train(weights, round_=0, rounds=2)
    a, b = (site.train(weights, round_=1, rounds=2).difference for site in (kept, dropped))
    assert any(not np.array_equal(a[name], b[name]) for name in a)


def test_the_learning_rate_follows_the_rounds(brain_bundle, cases):
    site = trainer(brain_bundle, cases, local_steps=1, keep_optimizer=False)
    weights = site.weights()
    early = site.train(weights, round_=2, rounds=10).difference  # the height of the one cycle
    late = site.train(weights, round_=9, rounds=10).difference
    size = [sum(float(np.abs(tensor).sum()) for tensor in update.values()) for update in (early, late)]
    assert size[1] < 0.5 * size[0]


def test_one_local_step_equals_one_plain_step(brain_bundle, cases):
    """Equation 1, re-stated with nothing but PyTorch on the very batch that the bundle's loader gives."""
    site = trainer(brain_bundle, cases, local_steps=1)
    weights = site.weights()
    seen = []
    hook = site.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    update = site.train(weights, round_=0, rounds=1)
    hook.remove()
    labels = _labels_of(seen[0], site, cases)
    site.load(weights)
    parser = site.bundle.parser({"network": site.network, "device": "cpu", "max_epochs": 1})
    optimizer, loss = parser.get_parsed_content("optimizer"), parser.get_parsed_content("loss")
    parser.get_parsed_content("lr_scheduler")  # sets where the learning rate begins
    site.network.train()
    optimizer.zero_grad()
    loss(site.network(torch.as_tensor(seen[0])), labels).backward()
    optimizer.step()
    after = site.weights()
    for name in weights:
        np.testing.assert_allclose(weights[name] + update.difference[name], after[name], rtol=1e-5, atol=1e-6)


def _labels_of(batch, site, cases):
    """The labels of a training batch, found by training a second time and looking at the engine's own batch."""
    from monai.engines import IterationEvents
    from monai.utils import set_determinism

    from fedxai.train.engine import _seed

    set_determinism(_seed(site.settings.seed, site.site, 0))
    parser = site._parser()
    site._feed(parser, "train", "training")
    engine = parser.get_parsed_content("train#trainer")
    found = []
    engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, lambda e: found.append(e.state.output))
    engine.state.epoch_length = 1
    engine.run()
    assert torch.equal(torch.as_tensor(found[0]["image"]), torch.as_tensor(batch))
    return torch.as_tensor(found[0]["label"])


def test_a_loss_that_is_not_finite_ends_the_round(brain_bundle, cases):
    site = trainer(brain_bundle, cases, local_steps=1)
    weights = {name: np.full_like(tensor, np.nan) for name, tensor in site.weights().items()}
    with pytest.raises(TrainingError, match="loss must be finite, got nan at step 1"):
        site.train(weights, round_=0, rounds=1)


def test_training_ends_early_when_it_is_told_to(brain_bundle, cases):
    site = trainer(brain_bundle, cases, local_steps=5)
    assert site.train(site.weights(), round_=0, rounds=1, stop=lambda: True).steps == 1


def test_a_label_outside_the_head_is_refused(brain_bundle, cases):
    wrong = {split: [Case(image=case.image, label=7, group="p") for case in listed] for split, listed in cases.items()}
    with pytest.raises(CohortError, match="below the 3 classes .* got 7"):
        trainer(brain_bundle, wrong)


def test_an_empty_split_is_refused(brain_bundle, cases):
    site = trainer(brain_bundle, {**cases, "training": []})
    with pytest.raises(CohortError, match="training split must hold at least one case"):
        site.train(site.weights(), round_=0, rounds=1)
    assert site.background(["expected_gradients"]) is None
    with pytest.raises(CohortError, match="the cohort must hold at least one case"):
        trainer(brain_bundle, {split: [] for split in cases})
    with pytest.raises(CohortError, match="test split must hold at least one case"):
        trainer(brain_bundle, {**cases, "test": []}).evaluate("test")


def test_logits_come_in_the_order_of_the_cases(brain_bundle, cases):
    site = trainer(brain_bundle, cases)
    logits, labels = site.logits("test")
    assert labels.tolist() == [case.label for case in cases["test"]]
    assert logits.shape == (len(labels), 3)


def test_regions_lie_on_the_images_grid_and_their_absence_is_said(brain_bundle, cases):
    some = [*cases["test"][:3], Case(image=cases["test"][3].image, label=0, group="p")]
    site = trainer(brain_bundle, {**cases, "test": some})
    batches = list(site.explanation_batches("test", limit=10, batch_size=3))
    assert [len(batch["group"]) for batch in batches] == [3, 1]
    for batch in batches:
        assert batch["region"].shape[2:] == batch["image"].shape[2:]
        assert batch["region"].dtype == torch.bool
    assert batches[0]["has_region"].all()
    assert batches[0]["region"].flatten(1).any(dim=1).all()
    assert not batches[1]["has_region"].any()


def test_a_limit_spreads_over_the_split(brain_bundle, cases):
    site = trainer(brain_bundle, cases)
    [batch] = site.explanation_batches("training", limit=4, batch_size=16)
    groups = [case.group for case in cases["training"]]
    assert batch["group"][0] == groups[0]
    assert batch["group"][-1] == groups[-1]


def test_a_full_disk_leaves_the_earlier_state(brain_bundle, cases, tmp_path, monkeypatch):
    state_file = tmp_path / "optimizer.pt"
    site = trainer(brain_bundle, cases, local_steps=1, state_file=state_file)
    site.train(site.weights(), round_=0, rounds=2)
    kept = tmp_path / "optimizer.0.pt"
    before = kept.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        site.train(site.weights(), round_=1, rounds=2)
    assert kept.read_bytes() == before


def test_a_background_is_drawn_only_where_a_method_compares_with_one(brain_bundle, cases):
    site = trainer(brain_bundle, cases)
    assert site.background(brain_bundle.explain.methods) is None
    images = site.background(["saliency", "expected_gradients"])
    assert images.shape == (16, 1, 96, 96)


@pytest.mark.parametrize("name", ["brain_mri_tumor_classification", "brain_mri_tumor_local_evidence"])
def test_a_pictures_millimetres_reach_the_scores(name, cases):
    """The bundle drops its metadata at the end and reads rows first; its grid is square."""
    known = [replace(case, spacing=(0.5, 0.25)) for case in cases["test"][:2]]
    site = trainer(Bundle.open(name), {**cases, "test": [*known, cases["test"][2]]})
    with_mm, without = site.explanation_batches("test", limit=3, batch_size=8)
    rows, columns = Image.open(known[0].image).size[::-1]
    height, width = with_mm["image"].shape[2:]
    expected = [0.5 * rows / height, 0.25 * columns / width]
    assert with_mm["spacing"].tolist() == [pytest.approx(expected)] * 2
    assert "spacing" not in without


@pytest.mark.parametrize(("kind", "tracked"), [("CacheDataset", False), ("Dataset", True)])
def test_metadata_is_left_out_only_where_every_case_is_cached(brain_bundle, cases, tmp_path, kind, tracked):
    """A case that is prepared anew in every epoch may need its spacing; what is cached needs it no more."""
    shutil.copytree(brain_bundle.path, tmp_path / "copy")
    path = tmp_path / "copy" / "configs" / "train.json"
    config = json.loads(path.read_text())
    dataset = config["train"]["dataset"]
    keys = dataset if kind == "CacheDataset" else {"data", "transform"}
    config["train"]["dataset"] = {**{key: dataset[key] for key in keys}, "_target_": kind}
    path.write_text(json.dumps(config))
    site, seen = trainer(Bundle.open(tmp_path / "copy"), cases, local_steps=1), []
    site.network.register_forward_pre_hook(lambda *_: seen.append(get_track_meta()))
    site.train(site.weights(), round_=0, rounds=1)
    assert seen == [tracked]
    assert get_track_meta()


PEAK = """
import json, resource, sys
from pathlib import Path
from fedxai.bundle import Bundle
from fedxai.records import Case
from fedxai.score.examine import examine
from fedxai.settings import TrainSettings
from fedxai.train.engine import SiteTrainer

images, count = json.loads(sys.argv[1]), int(sys.argv[2])
cases = [
    Case(image=Path(image), region=Path(region), label=i % 3, group=f"p{i}")
    for i in range(count) for image, region in [images[i % len(images)]]
]
bundle = Bundle.open("brain_mri_tumor_classification")
site = SiteTrainer(
    bundle=bundle, cases={"training": cases, "validation": cases, "test": cases}, site="a", device="cpu",
    settings=TrainSettings(threads=2, local_steps=2, cache_cases=200),
)
site.train(site.weights(), round_=0, rounds=1)
site.evaluate("validation", intervals=False)
examine(
    site.network, site.explanation_batches("test", limit=count, batch_size=16), split="test",
    methods=["gradient_x_input"], target_class="predicted",
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_case_more_costs_far_less_memory_than_its_image(cases):
    """3,000 cases against 500: prepared images are bounded by a setting and maps are never all held, so what a
    further case adds is its names and figures: less than half of one prepared image (96 x 96, float32)."""
    images = json.dumps([[str(case.image), str(case.region)] for case in cases["training"][:8]])
    peaks = []
    for count in (500, 3_000):
        command = [sys.executable, "-c", PEAK, images, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) * 1024)
    assert (peaks[1] - peaks[0]) / 2_500 < 0.5 * 96 * 96 * 4, peaks
