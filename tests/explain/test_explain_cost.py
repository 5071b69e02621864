# SPDX-License-Identifier: Apache-2.0
"""The benchmark's claims in counted operations and memory; wall time is for the benchmark itself."""

import runpy

import pytest

# passes of every way in FLOPs; a forward without gradient is about half a pass
PASSES = {
    "fedxai: three maps": 1,
    "fedxai: six one-pass maps": 1,
    "fedxai: integrated_gradients, 8 steps": 9,
    "fedxai: integrated_gradients, 32 steps": 33,
    "fedxai: smooth_grad, 8 samples": 9,
    "fedxai: expected_gradients, 8 samples": 9,
    "fedxai: guided_backprop": 2,
}


@pytest.mark.slow
def test_methods_take_the_passes_and_the_memory_they_promise(repository, capsys):
    benchmark = runpy.run_path(str(repository / "benchmarks" / "explain_cost.py"))
    *results, over_windows = benchmark["main"](["--quick", "--repetitions", "1"])
    for windows, (baseline, *others) in zip((16, 64), results, strict=True):
        costs = {cost.name: cost for cost in others}
        for name, passes in PASSES.items():
            assert costs[name].flops == passes * baseline.flops > 0
        assert costs["Captum: three maps"].flops_ratio == pytest.approx(3.0, abs=0.5)
        forward = costs["fedxai: occlusion, 4 windows an axis"].flops_ratio - 1
        assert forward == pytest.approx(windows / 2, rel=0.1)
        assert costs["fedxai: kernel_shap, 36 samples"].flops_ratio == pytest.approx(1 + 37 / 2, rel=0.1)
        assert max(cost.memory_ratio for name, cost in costs.items() if name.startswith("fedxai")) < 1.15
    baseline, ours, kept = over_windows
    assert ours.flops == pytest.approx(27 * 1.5 * baseline.flops, rel=0.05)  # a pass takes the forward twice
    assert kept.flops == 27 * baseline.flops
    assert ours.memory_ratio < kept.memory_ratio / 5
    printed = capsys.readouterr().out
    assert printed.count("goal: 8 steps at most 9 passes in FLOPs, and 1.15 x the memory of one: met, met") == 2
    assert printed.count("goal: 32 steps at most 33 passes in FLOPs, and 1.15 x the memory of one: met, met") == 2
