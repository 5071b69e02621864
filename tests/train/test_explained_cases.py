# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from fedxai.records import Case
from fedxai.train.explained_cases import region_batches

IMAGES = {name: Path(f"{name}.png") for name in "abcd"}


def prepared(spacing):
    def prepare(case: Case):
        image = torch.zeros(1, 4, 4)
        region = {"region": torch.zeros(1, 4, 4), "has_region": False}
        return [{"image": image, "label": 0, **region, "spacing": spacing.get(case.image)}]

    return prepare


def test_a_case_keeps_its_spacing_whatever_its_neighbours_say():
    known = {IMAGES["a"]: [1.0, 2.0], IMAGES["b"]: [3.0, 4.0], IMAGES["d"]: [5.0, 6.0]}
    cases = [Case(image=image, label=0) for image in IMAGES.values()]
    batches = list(region_batches(cases, prepared(known), batch_size=4))
    assert [len(batch["image"]) for batch in batches] == [2, 1, 1]
    first, unknown, last = [batch.get("spacing") for batch in batches]
    assert (first.tolist(), unknown, last.tolist()) == ([[1, 2], [3, 4]], None, [[5, 6]])


@pytest.mark.parametrize(("size", "expected"), [(1, [1, 1, 1, 1]), (3, [3, 1]), (9, [4])])
def test_a_batch_holds_no_more_than_it_may(size, expected):
    batches = region_batches([Case(image=i, label=0) for i in IMAGES.values()], prepared({}), batch_size=size)
    assert [len(batch["image"]) for batch in batches] == expected
