# SPDX-License-Identifier: Apache-2.0
"""A study's state comes back bit by bit, or not at all."""

import errno
import math
import os
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedxai.errors import RunError, SettingsError
from fedxai.flare.state import StudyState, StudyStore, check_same, flat

RNG = np.random.default_rng(0)


def state(round_: int, **changes) -> StudyState:
    values = {
        "round": round_,
        "settings": {"server.seed": 0, "client.name": "ä"},
        "weights": {
            "conv.weight": RNG.normal(size=(3, 2, 5)).astype(np.float32),
            "bn.num_batches_tracked": np.array(7),
            "half": np.arange(4, dtype=np.float16),
            "turned": np.arange(6.0).reshape(2, 3).T,
        },
        "best": {"conv.weight": np.full((2,), np.nan, np.float32)},
        "best_round": 1,
        "selector": {"best": -math.inf, "came": False, "e": None},
        "notebook": {"metrics": {"1": math.nan}, "notes": ["one"]},
        "ledger": 5,
        "job": "j",
    }
    return StudyState(**{**values, **changes})


@pytest.fixture
def store(tmp_path) -> StudyStore:
    return StudyStore(tmp_path / "study")


def test_what_is_saved_comes_back_bit_by_bit(store):
    saved = state(1)
    store.save(saved)
    loaded = store.load().state
    for part in ("weights", "best"):
        ours, theirs = getattr(loaded, part), getattr(saved, part)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name].dtype == value.dtype
            assert ours[name].shape == value.shape
            assert ours[name].tobytes() == value.tobytes()
    assert loaded.selector == saved.selector
    assert math.isnan(loaded.notebook["metrics"]["1"])
    assert (loaded.settings, loaded.ledger, loaded.best_round) == (saved.settings, 5, 1)


def test_a_study_without_state_has_none(store):
    assert store.load() is None
    store.clear()


def test_two_states_are_kept_and_the_newest_is_loaded(store):
    for round_ in (1, 2, 3, 10):
        store.save(state(round_))
    assert sorted(path.name[:12] for path in store.folder.iterdir()) == ["round_000003", "round_000010"]
    assert store.load().state.round == 10


def test_a_round_that_is_done_again_replaces_its_damaged_state(store):
    store.save(state(1))
    newest = store.save(state(2))
    newest.write_bytes(b"")
    store.save(state(2))
    loaded = store.load()
    assert (loaded.state.round, loaded.damaged) == (2, [])


def test_a_damaged_state_does_not_take_the_place_of_the_one_before(store):
    store.save(state(1))
    newest = store.save(state(2))
    newest.write_bytes(b"")
    again = store.save(state(2))
    again.write_bytes(b"")
    loaded = store.load()
    assert (loaded.state.round, loaded.damaged) == (1, ["after round 2"])


def test_a_run_that_begins_anew_is_not_taken_for_the_one_that_was_left(store):
    for round_ in (8, 9):
        store.save(state(round_, job="left"))
    store.save(state(1, job="new"))
    assert (store.load().state.round, store.load().state.job) == (1, "new")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_recognised_and_the_state_before_is_used(tmp_path, data):
    store = StudyStore(tmp_path / "study")
    store.clear()
    store.save(state(1))
    newest = store.save(state(2))
    content = bytearray(newest.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    newest.write_bytes(content)
    loaded = store.load()
    assert (loaded.state.round, loaded.damaged) == (1, ["after round 2"])


def test_when_every_state_is_damaged_the_study_is_refused(store):
    for round_ in (1, 2):
        path = store.save(state(round_))
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match=r"every state of the study is damaged \(after round 2, after round 1\)"):
        store.load()


def test_a_whole_file_of_another_version_is_refused_in_a_sentence(store):
    import hashlib

    store.folder.mkdir()
    content = b"\x02\0\0\0\0\0\0\0{}"
    (store.folder / f"round_000001.{hashlib.sha256(content).hexdigest()}.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="written by another version"):
        store.load()


@pytest.mark.parametrize("room", [0, 300])
def test_a_full_disk_leaves_the_states_before_and_nothing_half_written(store, room):
    for round_ in (1, 2):
        store.save(state(round_))
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            store.save(state(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path: path.read_bytes() for path in store.folder.iterdir()} == before


def test_a_kill_before_the_move_leaves_the_state_before(store, monkeypatch):
    store.save(state(1))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(state(2))
    assert store.load().state.round == 1


def test_nothing_in_a_state_is_unpickled(store):
    """A pickle's opcodes in the file are bytes like others: safetensors and JSON know no code."""
    import pickletools

    content = store.save(state(1)).read_bytes()
    with pytest.raises(ValueError, match=r".*"):
        list(pickletools.genops(content))


def test_the_first_setting_that_differs_is_named_with_both_values():
    before = flat({"num_rounds": 3, "components": [{"args": {"train": {"seed": 0}}}]}, "server")
    check_same(before, dict(before), study="s")
    now = {**before, "server.components.0.args.train.seed": 1}
    with pytest.raises(
        SettingsError, match=r"study s cannot be resumed: server.components.0.args.train.seed was 0 and"
    ):
        check_same(before, now, study="s")
    with pytest.raises(SettingsError, match="server.num_rounds was None and is 3"):
        check_same({}, {"server.num_rounds": 3}, study="s")
