# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fedxai.explain.grid import on_grid


@pytest.mark.parametrize("space", [(8, 6), (8, 6, 4)])
def test_a_ramp_of_cells_stays_a_ramp_and_the_border_is_repeated(space):
    cells = torch.arange(space[0] // 2).float().reshape(1, 1, -1, *[1] * (len(space) - 1))
    fine = on_grid(cells.expand(2, 3, -1, *(size // 2 for size in space[1:])), space)
    assert fine.shape == (2, 3, *space)
    wanted = ((torch.arange(space[0]) + 0.5) / 2 - 0.5).clamp(0, space[0] // 2 - 1)
    assert torch.allclose(fine, wanted.reshape(-1, *[1] * (len(space) - 1)).expand(space))
