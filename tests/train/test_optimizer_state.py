# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fedxai.train.optimizer_state import OptimizerState

CPU = torch.device("cpu")


def stepped(steps: int) -> torch.optim.Optimizer:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    for _ in range(steps):
        weight.grad = torch.full((3,), float(steps))
        optimizer.step()
    return optimizer


def steps_of(optimizer: torch.optim.Optimizer) -> float:
    return float(next(iter(optimizer.state_dict()["state"].values()))["step"])


@pytest.fixture(params=["memory", "file"])
def kept(request, tmp_path) -> OptimizerState:
    return OptimizerState(tmp_path / "optimizer.pt" if request.param == "file" else None, CPU)


def test_the_round_before_is_restored_and_no_other(kept):
    kept.keep(stepped(4), 0)
    fresh = stepped(0)
    assert not kept.restore(fresh, 0)
    assert not kept.restore(fresh, 2)
    assert kept.restore(fresh, 1)
    assert steps_of(fresh) == 4


def test_a_round_that_broke_off_leaves_what_it_began_with(kept):
    kept.keep(stepped(4), 0)
    broken, again = stepped(0), stepped(0)
    kept.restore(broken, 1)
    weight = broken.param_groups[0]["params"][0]
    weight.grad = torch.ones(3)
    broken.step()
    kept.restore(again, 1)
    assert (steps_of(broken), steps_of(again)) == (5, 4)


def test_a_round_that_is_trained_again_begins_where_it_began(tmp_path):
    """After a crash the server asks again for a round, or for the one before, that this site has trained already."""
    for round_ in range(6):
        OptimizerState(tmp_path / "optimizer.pt", CPU).keep(stepped(round_ + 1), round_)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"optimizer.{n}.pt" for n in (3, 4, 5)]
    for round_ in (4, 5, 6):
        optimizer = stepped(0)
        assert OptimizerState(tmp_path / "optimizer.pt", CPU).restore(optimizer, round_)
        assert steps_of(optimizer) == round_


def test_a_run_that_begins_anew_takes_nothing_over(kept, tmp_path):
    kept.keep(stepped(1), 0)
    (tmp_path / ".optimizer.1.pt.77.part").write_bytes(b"half")  # of a process that was killed
    kept.forget()
    assert not kept.restore(stepped(0), 1)
    assert kept._files is None or list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_as_one_and_keeps_the_round_before(tmp_path, little_room):
    kept = OptimizerState(tmp_path / "optimizer.pt", CPU)
    kept.keep(stepped(1), 0)
    with little_room(1000), pytest.raises(OSError, match="File too large"):
        kept.keep(stepped(2), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["optimizer.0.pt"]
