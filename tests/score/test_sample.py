# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fedxai.score.sample import Sample


def kept(size, *, cases=20, together=5, seed=0):
    sample = Sample(size, seed=seed)
    for first in range(0, cases, together):
        numbers = torch.arange(first, min(first + together, cases))
        batch = {"image": numbers.reshape(-1, 1, 1, 1).float(), "group": [f"p{n}" for n in numbers.tolist()]}
        sample.add(batch, numbers % 3)
    return sample


def test_the_same_cases_are_kept_however_they_are_batched():
    one, many = ([int(x) for batch in kept(6, together=t).batches(4) for x in batch.images] for t in (20, 3))
    assert one == many == sorted(one)
    assert len(set(one)) == 6


def test_a_case_keeps_its_class_and_patient():
    for batch in kept(7).batches(3):
        assert len(batch.images) <= 3
        numbers = [int(image) for image in batch.images]
        assert batch.targets.tolist() == [n % 3 for n in numbers]
        assert batch.groups == [f"p{n}" for n in numbers]
        assert batch.spacing is None


def test_every_case_is_kept_equally_often():
    counts = torch.zeros(20)
    for seed in range(400):
        for batch in kept(5, seed=seed).batches(5):
            counts[batch.images.flatten().long()] += 1
    assert counts.sum() == 400 * 5
    assert (counts / 400 - 0.25).abs().max() < 0.1


def grouped(size, groups, *, seed=0):
    sample = Sample(size, seed=seed)
    for number, group in enumerate(groups):
        sample.add({"image": torch.full((1, 1, 1, 1), float(number)), "group": [group]}, torch.zeros(1).long())
    return sample.cases


@pytest.mark.parametrize("order", [1, -1])
def test_patients_with_many_cases_do_not_crowd_out_the_others(order):
    """Two of them have eighteen of twenty cases each; the others one."""
    groups = [*"a" * 18, *"b" * 18, *"cdefgh"][::order]
    for seed in range(20):
        assert sorted(case.group for case in grouped(8, groups, seed=seed)) == list("abcdefgh")
        assert {case.group for case in grouped(10, groups, seed=seed)} == set("abcdefgh")
        assert len(grouped(10, groups, seed=seed)) == 10


def test_each_case_of_a_patient_is_as_likely_as_the_others():
    counts = torch.zeros(12)
    for seed in range(400):
        for case in grouped(3, [*"aaabbbcccddd"], seed=seed):
            counts[int(case.image)] += 1
    assert (counts / 400 - 0.25).abs().max() < 0.1


def test_cases_without_a_name_are_patients_of_their_own():
    assert len({int(case.image) for case in grouped(3, ["", "", "", "a", "a"])}) == 3
    kept = [sum(case.group == "" for case in grouped(3, ["", "", "", "a", "a"], seed=seed)) for seed in range(50)]
    assert min(kept) == 2, "never both of a"


def test_none_are_kept_where_none_are_asked_for_and_all_where_there_are_few():
    assert kept(0).batches(4) == []
    assert sum(len(batch.images) for batch in kept(50).batches(8)) == 20


def test_cases_of_one_shape_stay_together_with_their_spacings():
    sample = Sample(6)
    for length in (4, 5):
        spacing = torch.tensor([[1.0, length], [2.0, length]])
        batch = {"image": torch.zeros(2, 1, 3, length), "group": ["a", "b"], "spacing": spacing}
        sample.add(batch, torch.zeros(2).long())
    assert [tuple(batch.images.shape) for batch in sample.batches(8)] == [(2, 1, 3, 4), (2, 1, 3, 5)]
    assert [batch.spacing.tolist() for batch in sample.batches(8)] == [[[1, 4], [2, 4]], [[1, 5], [2, 5]]]
