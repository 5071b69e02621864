# SPDX-License-Identifier: Apache-2.0
"""What the desk compares an image with: other images of the site, of its size, and never itself."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from fedxai.errors import CohortError, ExplanationError
from fedxai.label.desk import Desk
from fedxai.label.served import Looked

METHOD = "expected_gradients"


class Model:
    """Images by number, each filled with it, squares of the given sizes; remembers what it prepared and was given."""

    def __init__(self, sizes):
        self.sizes, self.prepared, self.given = sizes, [], None
        self.bundle = SimpleNamespace(digest="d")

    def prepare(self, path):
        number = int(path.name)
        self.prepared.append(number)
        if self.sizes[number] is None:
            raise CohortError("cannot be read")
        image = torch.full((1, self.sizes[number], self.sizes[number]), float(number))
        return SimpleNamespace(path=path, image=MetaTensor(image), regions={})

    def look(self, prepared, method, *, target, background):
        self.given = sorted(int(value) for value in background[:, 0, 0, 0])
        return Looked(relevance=prepared.image.as_tensor(), target=0)


def compared(sizes):
    """A question to the desk: with which images is this one compared; and the model."""
    model = Model(sizes)
    desk = Desk(
        watch=None,
        feedback=None,
        images=lambda: [f"{number:04d}" for number in range(len(model.sizes))],
        path_of=lambda image: f"/images/{image}",
        elsewhere=lambda image, names: {},
    )

    def ask(number):
        desk.look(model, model.prepare(Path(f"/images/{number:04d}")), METHOD)
        return model.given

    return ask, model


def test_an_image_is_compared_with_the_others_whoever_was_asked_about_before():
    ask, model = compared([8] * 5)
    assert ask(0) == [1, 2, 3, 4]
    model.prepared.clear()
    assert ask(3) == [0, 1, 2, 4]
    assert model.prepared == [3]


def test_images_of_another_size_or_that_cannot_be_read_are_no_background():
    ask, _ = compared([8, 9, None, 8, 8])
    assert ask(0) == [3, 4]


def test_an_image_of_a_size_of_its_own_is_refused_until_there_is_another():
    ask, model = compared([8, 9, 8])
    with pytest.raises(ExplanationError, match="expected_gradients needs other images of the site, 1 x 9 x 9 as"):
        ask(1)
    model.sizes.append(9)
    assert ask(1) == [3]
    assert ask(0) == [2]


def test_at_most_32_images_are_looked_at_for_16_of_the_size_spread_over_the_list():
    ask, model = compared([8] * 1000)
    given = ask(1)
    assert len(given) == 16
    assert given[0] < 100
    assert given[-1] > 900
    ask, model = compared([8 if number % 2 else 9 for number in range(999)] + [8])
    assert len(ask(999)) > 8
    assert len(model.prepared) <= 1 + 32
