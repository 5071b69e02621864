# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from fedxai.combine.figures import pooled_figure
from fedxai.records import Figure


def test_half_widths_of_independent_sites_add_in_quadrature():
    figure = pooled_figure([Figure(value=0.5, n=1, low=0.4, high=0.7), Figure(value=0.7, n=1, low=0.6, high=0.9)])
    assert figure.value == pytest.approx(0.6)
    assert figure.low == pytest.approx(0.6 - math.sqrt(2 * 0.05**2), abs=1e-4)
    assert figure.high == pytest.approx(0.6 + math.sqrt(2 * 0.1**2), abs=1e-4)


def test_undefined_figures_are_never_averaged_in():
    assert pooled_figure([Figure(value=None, n=9), Figure(value=0.25, n=4)]) == Figure(value=0.25, n=4)
    assert pooled_figure([]).value is None
