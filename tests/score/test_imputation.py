# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from fedxai.score.imputation import impute


def plain(image, hidden):
    """The paper's linear system, one equation a hidden voxel: its value is the mean of its direct neighbours."""
    places = list(np.ndindex(image.shape))
    index = {place: number for number, place in enumerate(places)}
    system, right = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for place in places:
        system[index[place], index[place]] = 1.0
        if not hidden[place]:
            right[index[place]] = image[place]
            continue
        steps = [(axis, step) for axis in range(image.ndim) for step in (-1, 1)]
        around = [tuple(p + s * (a == axis) for a, p in enumerate(place)) for axis, s in steps]
        around = [near for near in around if near in index]
        for near in around:
            system[index[place], index[near]] = -1 / len(around)
    return spsolve(system.tocsr(), right).reshape(image.shape)


@pytest.mark.parametrize("space", [(24, 20), (8, 9, 10), (2, 12, 13)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_it_comes_close_to_the_linear_system(space, share):
    random = torch.Generator().manual_seed(3)
    image = torch.rand(1, 1, *space, generator=random).cumsum(dim=-1)
    hidden = torch.rand(1, 1, *space, generator=random) < share
    got = impute(image, hidden, torch.zeros(1, 1, *space))
    wanted = plain(image[0, 0].numpy(), hidden[0, 0].numpy())
    error = (got[0, 0] - torch.from_numpy(wanted))[hidden[0, 0]].square().mean().sqrt()
    assert float(error) < (0.02 if share < 0.8 else 0.07) * float(image.std())


def test_a_linear_image_comes_back_through_a_hole():
    image = torch.arange(20.0).expand(1, 1, 20, 20).clone()
    hidden = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    hidden[..., 6:12, 7:13] = True
    got = impute(image, hidden, torch.zeros(1, 1, 20, 20))
    assert torch.allclose(got, image, atol=0.4)
    assert torch.equal(got[~hidden], image[~hidden])


def test_noise_is_only_where_something_is_hidden_and_as_strong_as_said():
    image, noise = torch.rand(1, 2, 16, 16), torch.randn(1, 2, 16, 16)
    hidden = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hidden[..., :8, :] = True
    quiet, loud = (impute(image, hidden, noise, strength=strength) for strength in (0.0, 0.1))
    spread = image.std(dim=(2, 3), keepdim=True)
    assert torch.allclose(loud - quiet, 0.1 * spread * noise * hidden, atol=1e-6)


def test_where_all_is_hidden_all_is_the_mean():
    image = torch.rand(2, 1, 7, 5)
    got = impute(image, torch.ones(2, 1, 7, 5, dtype=torch.bool), torch.zeros(1, 1, 7, 5))
    assert torch.allclose(got, image.mean(dim=(2, 3), keepdim=True).expand_as(got), atol=1e-6)


def test_a_case_does_not_depend_on_its_neighbours():
    image, hidden = torch.rand(3, 1, 12, 12), torch.rand(3, 1, 12, 12) < 0.5
    noise = torch.randn(1, 1, 12, 12)
    together = impute(image, hidden, noise)
    alone = torch.cat([impute(image[i : i + 1], hidden[i : i + 1], noise) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-6)
