# SPDX-License-Identifier: Apache-2.0
"""Tensors cross the wall only with the network's names, shapes and dtypes, finite and not too long."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedxai.errors import ReleaseError
from fedxai.privacy.tensors import check_norm, norm, rebuilt_tensors

PIXELS = np.zeros(4, [("a", "f4"), ("pixels", "u1", 9)])


def floats(weights):
    return {name: tensor for name, tensor in weights.items() if tensor.dtype.kind == "f"}


def test_what_is_expected_passes_in_memory_of_its_own(weights):
    expected = floats(weights)
    padded = np.zeros((4, 60), np.float32)  # an image could stand in the rest of the buffer
    found = {name: tensor.copy() for name, tensor in reversed(expected.items())}
    found["conv.weight"] = padded[:, ::10]
    rebuilt = rebuilt_tensors(found, expected, what="update")
    assert list(rebuilt) == list(expected)
    assert rebuilt["conv.weight"].base is None
    assert rebuilt["conv.weight"].flags.c_contiguous
    np.testing.assert_array_equal(rebuilt["conv.weight"], found["conv.weight"])


class Sly(np.ndarray):
    """An array that could carry more than it shows."""


LEAKS = {
    "an extra tensor": (lambda u: u.update(stowaway=np.zeros(9, np.float32)), "1 unknown"),
    "a patient's name as a tensor's": (lambda u: u.update({"DOE^JANE": u.pop("conv.bias")}), "1 unknown"),
    "hidden bytes in a wider dtype": (lambda u: u.update({"conv.bias": u["conv.bias"].astype("f8")}), "be float32"),
    "a dtype with fields": (lambda u: u.update({"conv.bias": PIXELS}), "be float32"),
    "objects": (lambda u: u.update({"conv.bias": np.array([b"px"] * 4, dtype=object)}), "be float32"),
    "an image in place of a row": (lambda u: u.update({"conv.bias": np.zeros((64, 64), np.float32)}), "shape"),
    "payload bits of NaN": (lambda u: u.update({"conv.bias": np.full(4, np.nan, np.float32)}), "not finite"),
    "a list": (lambda u: u.update({"conv.bias": [0.0] * 4}), "an array"),
    "a subclass": (lambda u: u.update({"conv.bias": u["conv.bias"].view(Sly)}), "an array"),
}  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_among_the_tensors_is_refused_without_its_name(weights, leak):
    spoil, sentence = LEAKS[leak]
    found = {name: tensor.copy() for name, tensor in floats(weights).items()}
    spoil(found)
    with pytest.raises(ReleaseError, match=sentence) as refused:
        rebuilt_tensors(found, floats(weights), what="update")
    assert "DOE" not in str(refused.value)
    assert "stowaway" not in str(refused.value)


def test_an_update_longer_than_the_policy_allows_is_refused(weights):
    update = floats(weights)
    assert norm(update) == pytest.approx(np.sqrt(sum((tensor.astype(float) ** 2).sum() for tensor in update.values())))
    check_norm(update, weights, 1.0)
    with pytest.raises(ReleaseError, match=r"at most 0\.5 times"):
        check_norm(update, weights, 0.5)


@given(
    names=st.lists(st.text(max_size=6), max_size=3),
    array=arrays.arrays(
        dtype=st.one_of(arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.byte_string_dtypes()),
        shape=arrays.array_shapes(max_dims=3, max_side=5),
    ),
)
def test_whatever_comes_only_the_expected_table_passes(names, array):
    expected = {"w": np.zeros(3, np.float32)}
    try:
        rebuilt = rebuilt_tensors(dict.fromkeys(["w", *names], array), expected, what="update")
    except ReleaseError:
        return
    assert list(rebuilt) == ["w"]
    assert rebuilt["w"].dtype == np.float32
    assert rebuilt["w"].shape == (3,)
    assert np.isfinite(rebuilt["w"]).all()
