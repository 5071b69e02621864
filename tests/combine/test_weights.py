# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedxai.combine.weights import check_update, fedavg, global_mean
from fedxai.errors import UpdateError


def plain_fedavg(updates, cases):
    """Equation 2, entry by entry."""
    total = sum(cases.values())
    mean = {}
    for name in updates[next(iter(updates))]:
        shape = updates[next(iter(updates))][name].shape
        mean[name] = np.zeros(shape)
        for index in np.ndindex(*shape):
            for site in updates:
                mean[name][index] += cases[site] / total * float(updates[site][name][index])
    return mean


def test_unequal_sites_are_weighted_by_their_cases():
    random = np.random.default_rng(0)
    cases = {"a": 3, "b": 50, "c": 500}
    updates = {s: {"w": random.normal(size=(4, 3)).astype(np.float32), "b": random.normal(size=2)} for s in cases}
    got, wanted = fedavg(updates, cases), plain_fedavg(updates, cases)
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6)
        assert got[name].dtype == updates["a"][name].dtype


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.integers(1, 1000), min_size=4, max_size=4))
def test_the_order_of_answers_changes_no_bit(order, counts):
    random = np.random.default_rng(1)
    updates = {site: {"w": random.normal(size=7).astype(np.float32)} for site in "abcd"}
    cases = dict(zip("abcd", counts, strict=True))
    shuffled = {site: updates[site] for site in order}
    assert np.array_equal(fedavg(updates, cases)["w"], fedavg(shuffled, cases)["w"])


def test_a_tensor_that_a_site_held_still_has_no_part_of_that_site_in_its_mean():
    updates = {
        "a": {"held by b": np.array([1.0, 0.0]), "held by all": np.zeros(2), "moved": np.array([0.0, 4.0])},
        "b": {"held by b": np.zeros(2), "held by all": np.zeros(2), "moved": np.array([8.0, 0.0])},
    }
    mean = fedavg(updates, {"a": 1, "b": 3})
    assert {name: value.tolist() for name, value in mean.items()} == {
        "held by b": [1.0, 0.0],
        "held by all": [0.0, 0.0],
        "moved": [6.0, 1.0],
    }


def test_the_average_of_one_site_is_that_site():
    update = {"w": np.array([1.5, -2.25], dtype=np.float32)}
    assert np.array_equal(fedavg({"a": update}, {"a": 7})["w"], update["w"])


def test_nothing_to_average_is_refused():
    with pytest.raises(UpdateError, match="no update"):
        fedavg({}, {})


def test_a_site_without_cases_is_refused():
    with pytest.raises(UpdateError, match="at least 1"):
        fedavg({"a": {"w": np.zeros(1)}}, {"a": 0})


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({}, "1 tensors missing"),
        ({"w": np.zeros(2, np.float32), "x": np.zeros(1, np.float32)}, "1 unknown"),
        ({"w": np.zeros(3, np.float32)}, r"must be float32 \(2,\), got float32 \(3,\)"),
        ({"w": np.zeros(2, np.float64)}, "got float64"),
        ({"w": [0.0, 0.0]}, "got list"),
        ({"w": np.array([0, np.nan], np.float32)}, "not finite"),
        ({"w": np.array([np.inf, 0], np.float32)}, "not finite"),
    ],
)
def test_an_update_that_does_not_fit_is_refused_by_name(update, reason):
    with pytest.raises(UpdateError, match=reason):
        check_update(update, {"w": np.zeros(2, np.float32)})


def test_an_update_that_fits_is_accepted():
    check_update({"w": np.ones(2, np.float32)}, {"w": np.zeros(2, np.float32)})


def test_counters_are_not_averaged_and_must_not_be_sent():
    """BatchNorm's int64 step counter is no weight."""
    reference = {"w": np.zeros(2, np.float32), "steps": np.array(3)}
    check_update({"w": np.ones(2, np.float32)}, reference)
    with pytest.raises(UpdateError, match="1 unknown"):
        check_update({"w": np.ones(2, np.float32), "steps": np.array(1)}, reference)


def test_the_global_loss_is_the_pooled_mean_loss():
    """Equation 3: with the mean loss of each site, it equals the mean over all cases."""
    random = np.random.default_rng(2)
    losses = {"a": random.random(5), "b": random.random(40)}
    got = global_mean({s: v.mean() for s, v in losses.items()}, {s: len(v) for s, v in losses.items()})
    assert got == pytest.approx(np.concatenate(list(losses.values())).mean())


def test_sites_that_report_nothing_are_left_out_of_the_mean():
    assert global_mean({"a": 1.0}, {"a": 2, "b": 8}) == 1.0
    assert np.isnan(global_mean({}, {"a": 2}))
