# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fedxai.explain import explain_batch
from fedxai.score.honesty import HonestyBattery
from fedxai.train.gated import Gated


class Looks(nn.Module):
    """Class 1 when the mean of a square is above a half; the square's corner is ``start``."""

    def __init__(self, start):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))
        self.start = start

    def forward(self, image):
        seen = image[:, :, self.start : self.start + 6, self.start : self.start + 6].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(seen), self.gain * (seen - 0.5)], dim=1)


@pytest.fixture
def batch():
    """Twelve bodies of grey 0.4 with a bright or dark region, and a bright or dark mark far from it."""
    image = torch.zeros(12, 1, 48, 48)
    image[:, :, 2:46, 2:46] = 0.4
    bright = torch.arange(12) % 2 == 0
    image[bright, :, 8:14, 8:14] = 0.9
    image[~bright, :, 8:14, 8:14] = 0.1
    image[bright, :, 36:42, 36:42] = 0.9
    image[~bright, :, 36:42, 36:42] = 0.1
    region = torch.zeros(12, 1, 48, 48, dtype=torch.bool)
    region[:, :, 8:14, 8:14] = True
    return {
        "image": image,
        "region": region,
        "has_region": torch.ones(12, dtype=torch.bool),
        "group": [f"p{index}" for index in range(12)],
        "label": torch.zeros(12, dtype=torch.long),
    }


def battery(network, batch, limit=100):
    asked = HonestyBattery(network, limit=limit)
    asked.add(batch)
    return asked.result()


def value(result, name):
    return result.figures[name].value


def test_a_model_that_looks_at_the_region_passes(batch):
    result = battery(Looks(8), batch)
    assert value(result, "occlusion_mass") == pytest.approx(value(result, "occlusion_ceiling"), abs=0.02)
    assert value(result, "drop_region") > 0.3
    assert value(result, "drop_elsewhere") < 0.05
    assert value(result, "swap_kept") == 1.0
    assert value(result, "blank_kept") == 1.0


def test_a_model_that_looks_at_the_mark_is_found_out(batch):
    result = battery(Looks(36), batch)
    assert value(result, "occlusion_mass") < 0.05
    assert value(result, "drop_region") == 0.0
    assert value(result, "swap_kept") < 0.1  # the partner in this batch carries the other mark
    assert result.figures["swap_kept"].n == 11  # the first case has no partner yet


def test_grey_keeps_the_mean_and_nothing_else(batch):
    assert value(battery(Looks(8), batch), "drop_grey") == pytest.approx(0.0, abs=1e-6)


def test_grey_takes_what_lies_inside_away(batch):
    """The model reads the texture of the region, which its mean has not."""

    class Texture(Looks):
        def forward(self, image):
            seen = image[:, 0, 8:14, 8:14].flatten(1).std(dim=1)
            return torch.stack([torch.zeros_like(seen), self.gain * (seen - 0.2)], dim=1)

    textured = batch["image"].clone()
    textured[:, :, 8:14, 8:14:2] = 0.9
    textured[:, :, 8:14, 9:14:2] = 0.1
    assert value(battery(Texture(8), {**batch, "image": textured}), "drop_grey") > 0.4


def test_elsewhere_the_region_is_in_one_piece():
    """Rolled over the border it would be strips at opposite edges, which are filled more easily."""
    image, region = torch.full((1, 1, 64, 64), 0.4), torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    region[:, :, 30:50, 20:36] = True
    for seed in range(40):
        moved = HonestyBattery(Looks(8), limit=1, seed=seed)._elsewhere(image, region, region)
        rows, columns = (at.unique() for at in moved.nonzero(as_tuple=True)[2:])
        assert (rows.max() - rows.min(), columns.max() - columns.min()) == (19, 15)


def test_elsewhere_is_in_the_body():
    """A small body in a wide field: a patch in air would cost nothing whatever the model does."""
    image = torch.zeros(1, 1, 48, 48)
    image[..., 2:26, 2:26] = 0.4
    region = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    region[..., 8:14, 8:14] = True
    for seed in range(20):
        moved = HonestyBattery(Looks(8), limit=1, seed=seed)._elsewhere(image, region, region)
        assert not (moved & region).any()
        if moved.any():
            assert float((image[moved] > 0).float().mean()) > 0.5


def test_another_patients_region_does_not_come_with_its_surroundings():
    """The model reads where the other patient's region was, which is bright; its place is filled before it is lent."""
    image, region = torch.full((2, 1, 48, 48), 0.4), torch.zeros(2, 1, 48, 48, dtype=torch.bool)
    region[0, :, 30:36, 30:36], region[1, :, 8:14, 8:14] = True, True
    image[0, :, 30:36, 30:36] = 0.9
    pair = {
        "image": image,
        "region": region,
        "has_region": torch.ones(2, dtype=torch.bool),
        "group": ["p0", "p1"],
        "label": torch.zeros(2, dtype=torch.long),
    }
    kept = battery(Looks(30), pair).figures["swap_kept"]
    assert (kept.value, kept.n) == (1.0, 1)


def test_grey_keeps_the_mean_of_every_channel(batch):
    """The model compares two channels, whose means over the region stay."""
    channels = torch.cat([batch["image"], 0.5 * batch["image"]], dim=1)

    class Compares(Looks):
        def forward(self, image):
            return super().forward(0.5 + image[:, :1] - image[:, 1:] - 0.2)

    assert value(battery(Compares(8), {**batch, "image": channels}), "drop_grey") == pytest.approx(0.0, abs=1e-6)


def test_cases_without_a_name_are_each_a_patient(batch):
    result = battery(Looks(8), {**batch, "group": [""] * 12})
    assert result.figures["swap_kept"].n == 11


def test_an_input_range_from_minus_one_to_one_changes_no_answer(batch):
    """Of a model of the mark: occlusion, places of the body and blank surroundings all depend on what is black."""

    class Scaled(Looks):
        def forward(self, image):
            return super().forward((image + 1) / 2)

    told = battery(Looks(36), batch)
    asked = HonestyBattery(Scaled(36), limit=100, black=-1.0)
    asked.add({**batch, "image": 2 * batch["image"] - 1})
    scaled = asked.result()
    for name in told.figures:
        assert value(scaled, name) == pytest.approx(value(told, name), abs=0.01), name


def test_the_limit_and_cases_without_a_region_are_kept_to(batch):
    assert battery(Looks(8), batch, limit=3).cases == 3
    assert battery(Looks(8), {**batch, "has_region": torch.zeros(12, dtype=torch.bool)}) is None
    assert battery(Looks(8), {**batch, "region": torch.zeros_like(batch["region"])}) is None


def test_the_cases_are_drawn_from_all_and_not_the_first_that_come(batch):
    """A cohort that is listed class by class would be asked about one class alone."""
    sorted_batch = {**batch, "group": ["first"] * 6 + ["second"] * 6}
    asked = HonestyBattery(Looks(8), limit=5, seed=1)
    for start in (0, 4, 8):
        asked.add({key: value[start : start + 4] for key, value in sorted_batch.items()})
    together = HonestyBattery(Looks(8), limit=5, seed=1)
    together.add(sorted_batch)
    assert asked.result() == together.result()
    assert set(asked.groups) == {"first", "second"}
    assert asked.passes == together.passes


def test_a_partner_is_never_the_same_patient(batch):
    result = battery(Looks(8), {**batch, "group": ["p"] * 12})
    assert (result.cases, result.figures["swap_kept"].n, result.figures["drop_region"].n) == (12, 0, 12)


def test_the_same_twice_and_the_network_as_it_was(batch):
    network = Looks(8).train()
    assert battery(network, batch) == battery(network, batch)
    assert network.training
    assert network.gain.grad is None


@pytest.mark.slow
def test_the_margin_that_stays_is_counted_in_millimetres(batch):
    """The model looks at what lies 2 to 8 voxels left of the region: 5 mm reach all of it where a voxel is 0.4 mm."""
    near = Looks(8)
    moved = {**batch, "region": torch.roll(batch["region"], 8, dims=3)}
    assert value(battery(near, moved), "blank_kept") < 1.0
    assert value(battery(near, {**moved, "spacing": torch.full((12, 2), 0.4)}), "blank_kept") == 1.0
    assert value(battery(near, {**moved, "spacing": torch.tensor([1.0, 0.4])}), "blank_kept") == 1.0
    assert value(battery(near, {**moved, "spacing": torch.tensor([0.4, 1.0])}), "blank_kept") < 1.0


def test_a_patient_of_another_shape_is_no_partner(batch):
    larger = {**batch, "image": torch.zeros(12, 1, 48, 52), "region": torch.zeros(12, 1, 48, 52, dtype=torch.bool)}
    larger["region"][:, :, 8:14, 8:14] = True
    asked = HonestyBattery(Looks(8), limit=100)
    for part in (batch, larger):
        asked.add({key: value[:3] for key, value in part.items()})
    result = asked.result()
    assert (result.cases, result.figures["swap_kept"].n, result.figures["blank_kept"].n) == (6, 4, 6)


def test_behind_a_gate_the_soft_path_shows_what_a_map_of_gradients_does_not(batch):
    """The gate opens at bright pixels and is a code for nothing; behind it the model adds up the region's corner."""

    class Everything(nn.Module):
        def forward(self, image):
            seen = image.mean(dim=(1, 2, 3))
            return torch.stack([torch.zeros_like(seen), 100 * seen - 1], dim=1)

    asked = {name: part[::2] for name, part in batch.items()}  # the bodies whose region is bright
    asked["image"] = asked["image"].clone()
    asked["image"][:, :, 36:42, 36:42] = 0.8  # the mark stays a little below the gate's threshold
    gated = Gated(relevance=nn.Conv2d(1, 1, 1), classifier=Everything(), gate={"margin": 0})
    nn.init.constant_(gated.get_parameter("relevance.weight"), 40.0)  # opens where the image is above 0.85
    nn.init.constant_(gated.get_parameter("relevance.bias"), -34.0)
    result = battery(gated, asked)
    found = explain_batch(gated, asked["image"], methods=["gradient_x_input"]).maps["gradient_x_input"]
    found[:, :, 8:14, 8:14] = 0
    assert not found.any(), "hard: E is 1, whatever else could have opened the gate"
    assert value(result, "soft_mass") < 0.95
    assert not gated.gate.soft
    assert "soft_mass" not in battery(Looks(8), batch).figures
