# SPDX-License-Identifier: Apache-2.0
"""Three maps for the price of one: saliency, gradient x input and Grad-CAM against one pass, and Captum.

The baseline, in the same run, is one forward and one input-backward pass in bare PyTorch, weights frozen.
FLOPs are counted (torch.utils.flop_counter); wall time is the median over repetitions that take turns, as
the ratio to the baseline of the same turn. Goal: at most 1.05 x the baseline.

    python benchmarks/explain_cost.py [--quick] [--device cuda]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from captum.attr import InputXGradient, LayerAttribution, LayerGradCam, Saliency
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fedxai.explain import explain_batch

GOAL = 1.05
METHODS = ("saliency", "gradient_x_input", "grad_cam")
LINEAR = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network with a batch for it."""

    name: str
    network: nn.Module
    layer: str
    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way of explaining a batch takes; ratios are to the baseline of the same run."""

    name: str
    flops: int
    flops_ratio: float
    seconds: float
    seconds_ratio: float


def one_pass(setting: Setting) -> None:
    """The baseline: forward, and backward to the input."""
    inputs = _fresh(setting.inputs)
    logits = setting.network(inputs)
    torch.autograd.grad(logits.gather(1, setting.targets[:, None]).sum(), inputs)


def three_maps(setting: Setting) -> None:
    """Ours."""
    explain_batch(setting.network, setting.inputs, targets=setting.targets, methods=METHODS, target_layer=setting.layer)


def captum_three_times(setting: Setting) -> None:
    """The same three maps from Captum."""
    network, inputs, targets = setting.network, setting.inputs, setting.targets
    Saliency(network).attribute(_fresh(inputs), target=targets)
    InputXGradient(network).attribute(_fresh(inputs), target=targets)
    grad_cam = LayerGradCam(network, network.get_submodule(setting.layer))
    cells = grad_cam.attribute(_fresh(inputs), target=targets, relu_attributions=True)
    LayerAttribution.interpolate(cells, inputs.shape[2:], LINEAR[inputs.ndim - 2])


def _fresh(inputs: Tensor) -> Tensor:
    """Inputs that ask for a gradient, behind a view: the FLOP counter cannot follow a leaf."""
    return inputs.clone().requires_grad_().view_as(inputs)


WAYS: dict[str, Callable[[Setting], None]] = {
    "one forward + input-backward (baseline)": one_pass,
    "fedxai: three maps": three_maps,
    "Captum, called three times": captum_three_times,
}


def measure(setting: Setting, *, repetitions: int) -> list[Cost]:
    """The cost of every way, the baseline first."""
    flops = {}
    for name, way in WAYS.items():
        way(setting)  # warm up
        with FlopCounterMode(display=False) as counter:
            way(setting)
        flops[name] = counter.get_total_flops()
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(repetitions):
        names = list(WAYS)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(_timed(WAYS[name], setting))
    baseline = next(iter(WAYS))
    return [
        Cost(
            name=name,
            flops=flops[name],
            flops_ratio=flops[name] / flops[baseline],
            seconds=statistics.median(seconds[name]),
            seconds_ratio=statistics.median(
                own / other for own, other in zip(seconds[name], seconds[baseline], strict=True)
            ),
        )
        for name in WAYS
    ]


def settings(*, quick: bool, device: str) -> list[Setting]:
    """2D: 128 x 128, batch 16; 3D: 48 x 48 x 48, batch 2; smaller when quick."""
    flat, solid = ((4, 1, 64, 64), (1, 1, 24, 24, 24)) if quick else ((16, 1, 128, 128), (2, 1, 48, 48, 48))
    torch.manual_seed(0)
    return [
        _setting("own GroupNorm network", group_norm_network(2), LAST, flat, device),
        _setting("own GroupNorm network", group_norm_network(3), LAST, solid, device),
    ]


LAST = "features.17"


def group_norm_network(dims: int) -> nn.Module:
    """Three stages of two convolutions with group normalisation, and a linear head: 72,000 weights in 2D."""
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    features, channels = nn.Sequential(), 1
    for width in (16, 32, 64):
        for stride in (1 if channels == 1 else 2, 1):
            layers = (
                convolution(channels, width, 3, stride=stride, padding=1),
                nn.GroupNorm(8, width),
                nn.ReLU(),
            )
            features.extend(nn.Sequential(*layers))
            channels = width
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("head", nn.Sequential(pool(1), nn.Flatten(), nn.Linear(channels, 3)))
    return network


def _setting(name: str, network: nn.Module, layer: str, shape: Sequence[int], device: str) -> Setting:
    inputs = torch.rand(*shape, device=device)
    network = network.to(device).eval().requires_grad_(False)
    with torch.no_grad():
        targets = network(inputs).argmax(dim=1)
    size = " x ".join(str(length) for length in shape[2:])
    return Setting(
        name=f"{len(shape) - 2}D {size}, batch {shape[0]}, {name}",
        network=network,
        layer=layer,
        inputs=inputs,
        targets=targets,
    )


def _timed(way: Callable[[Setting], None], setting: Setting) -> float:
    start = time.perf_counter()
    way(setting)
    if setting.inputs.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> list[list[Cost]]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small images, few repetitions")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repetitions", type=int, help="turns of each way (default 30, quick 5)")
    options = parser.parse_args(arguments)
    repetitions = options.repetitions or (5 if options.quick else 30)
    print(f"device {options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    results = []
    for setting in settings(quick=options.quick, device=options.device):
        costs = measure(setting, repetitions=repetitions)
        results.append(costs)
        _print(setting, costs, repetitions)
    return results


def _print(setting: Setting, costs: Sequence[Cost], repetitions: int) -> None:
    print(f"\n{setting.name}; median of {repetitions} turns")
    print(f"{'':42}{'GFLOPs':>10}{'ratio':>8}{'ms':>10}{'ratio':>8}")
    for cost in costs:
        print(
            f"{cost.name:42}{cost.flops / 1e9:10.3f}{cost.flops_ratio:8.3f}"
            f"{cost.seconds * 1e3:10.2f}{cost.seconds_ratio:8.3f}"
        )
    ours = costs[1]
    met = "met" if max(ours.flops_ratio, ours.seconds_ratio) <= GOAL else "not met"
    print(f"goal: three maps at most {GOAL} x the baseline, in FLOPs and time: {met}")


if __name__ == "__main__":
    main()
