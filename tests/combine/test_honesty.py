# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.combine.honesty import by_construction, pooled_honesty
from fedxai.records import Figure, Honesty


def honesty(mass, here=0.2, there=0.0, *, grey=0.1, n=10):
    values = {"occlusion_mass": mass, "occlusion_ceiling": 0.36}
    values |= {"drop_region": here, "drop_grey": grey, "drop_elsewhere": there}
    return Honesty(cases=n, figures={name: Figure(value=value, n=n) for name, value in values.items()})


def figure(value):
    return Figure(value=value, n=10)


@pytest.mark.parametrize(
    ("e", "mass", "here", "grey", "there", "verdict"),
    [
        (0.10, 0.08, 0.11, 0.04, 0.00, False),  # a plain network
        (0.49, 0.23, 0.20, 0.03, 0.00, False),  # local evidence with energy loss
        (0.80, 0.23, 0.27, 0.12, 0.00, False),  # a gate whose pixels are read: .23 is most of what windows can show
        (0.80, 0.23, 0.27, 0.00, 0.00, True),  # a hard gate: shape and place give the answer, E is its precision
        (0.80, 0.08, 0.27, 0.12, 0.00, True),  # maps inside, evidence elsewhere
        (0.30, 0.20, 0.01, 0.03, 0.02, True),  # what is in the region does not matter more than elsewhere
        (0.03, 0.00, 0.00, 0.00, 0.00, False),  # no claim, nothing won
    ],
)
def test_a_model_that_wins_by_construction_is_named(e, mass, here, grey, there, verdict):
    assert by_construction(figure(e), figure(0.017), honesty(mass, here, there, grey=grey)) is verdict


@pytest.mark.parametrize(("soft", "verdict"), [(0.456, False), (0.3, False), (0.212, True), (None, None)])
def test_a_gate_that_makes_more_than_half_of_e_is_named(soft, verdict):
    """Behind a hard gate E is the gate's precision; the soft path shows what is left without it."""
    battery = honesty(0.16, 0.211, 0.006, grey=0.031)
    gated = battery.model_copy(update={"figures": {**battery.figures, "soft_mass": Figure(value=soft, n=10)}})
    assert by_construction(figure(0.456), figure(0.016), gated) is verdict
    assert by_construction(figure(0.456), figure(0.016), battery) is False


def test_nothing_is_said_without_the_figures():
    assert by_construction(figure(None), figure(0.1), honesty(0.2)) is None
    assert by_construction(figure(0.5), figure(0.1), Honesty(cases=0, figures={})) is None


@pytest.mark.parametrize(("elsewhere", "verdict"), [(10, False), (5, False), (4, None)])
def test_nothing_is_said_where_most_cases_have_no_other_place(elsewhere, verdict):
    battery = honesty(0.2)
    figures = {**battery.figures, "drop_elsewhere": Figure(value=0.0, n=elsewhere)}
    assert by_construction(figure(0.5), figure(0.02), battery.model_copy(update={"figures": figures})) is verdict


def test_sites_are_weighted_by_their_cases():
    pooled = pooled_honesty([honesty(0.2, n=10), honesty(0.5, n=30)])
    assert pooled is not None
    assert pooled.cases == 40
    assert pooled.figures["occlusion_mass"].value == pytest.approx(0.425)
    assert pooled_honesty([]) is None
