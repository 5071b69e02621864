# SPDX-License-Identifier: Apache-2.0
"""The benchmark's claim in counted operations; wall time is for the benchmark itself."""

import runpy

import pytest


def test_three_maps_take_the_operations_of_one_pass(repository, capsys):
    benchmark = runpy.run_path(str(repository / "benchmarks" / "explain_cost.py"))
    results = benchmark["main"](["--quick", "--repetitions", "1"])
    for baseline, ours, captum in results:
        assert ours.flops == baseline.flops > 0
        assert captum.flops_ratio == pytest.approx(3.0, abs=0.5)
    printed = capsys.readouterr().out
    assert printed.count("goal: three maps at most 1.05 x the baseline") == len(results) == 2
