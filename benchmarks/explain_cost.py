# SPDX-License-Identifier: Apache-2.0
"""What every saliency method costs, in units of one forward + input-backward pass, beside Captum.

The baseline, in the same run, is one forward and one input-backward pass in bare PyTorch, weights frozen.
FLOPs are counted; wall time is the median over repetitions that take turns, as the ratio to the baseline of
the same turn; memory is the peak of what is allocated during the call. Goals: three maps at most 1.05 x the
baseline; integrated gradients of n steps at most n + 1 passes in FLOPs, and 1.15 x the memory of one, 8 or 32.
A volume of 27 windows is measured against the pass of one window, beside the same with all windows kept.

    python benchmarks/explain_cost.py [--quick] [--device cuda]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import captum.attr as captum
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from fedxai.explain import Method, explain_batch
from fedxai.explain.expected_gradients import ExpectedGradients
from fedxai.explain.guided_backprop import GuidedBackprop
from fedxai.explain.integrated_gradients import IntegratedGradients
from fedxai.explain.kernel_shap import KernelShap
from fedxai.explain.occlusion import Occlusion
from fedxai.explain.smooth_grad import SmoothGrad
from fedxai.explain.supervoxels import supervoxels
from fedxai.explain.windowed import Windowed

GOAL, MEMORY_GOAL = 1.05, 1.15
THREE = ("saliency", "gradient_x_input", "grad_cam")
SIX = (*THREE, "grad_cam_plus_plus", "hires_cam", "layer_cam")
LINEAR = {2: "bilinear", 3: "trilinear"}
N = 8  # steps, or samples with a gradient
MANY = 32  # steps whose memory must be that of one
COALITIONS, BOXES = 36, 9
LAST = "features.17"
MET = {True: "met", False: "not met"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network with a batch for it."""

    name: str
    network: nn.Module
    layer: str
    inputs: Tensor
    targets: Tensor
    background: Tensor

    def behind_view(self, inputs: Tensor) -> Tensor:
        """The network's answer, for the leaves that Captum makes: the FLOP counter cannot follow a leaf."""
        return self.network(inputs.view_as(inputs))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way of explaining a batch takes; ratios are to the baseline of the same run."""

    name: str
    flops: int
    flops_ratio: float
    seconds: float
    seconds_ratio: float
    memory_ratio: float


Way = Callable[[Setting], None]


def one_pass(setting: Setting) -> None:
    """The baseline: forward, and backward to the input."""
    inputs = _fresh(setting.inputs)
    logits = setting.network(inputs)
    torch.autograd.grad(logits.gather(1, setting.targets[:, None]).sum(), inputs)


def _fresh(inputs: Tensor) -> Tensor:
    return inputs.clone().requires_grad_().view_as(inputs)


def ours(*methods: str | Method) -> Way:
    """A way that asks fedxai for these methods."""

    def way(setting: Setting) -> None:
        explain_batch(
            setting.network,
            setting.inputs,
            targets=setting.targets,
            methods=methods,
            target_layer=setting.layer,
            background=setting.background,
        )

    return way


def _captum_three(setting: Setting) -> None:
    network, inputs, targets = setting.network, setting.inputs, setting.targets
    captum.Saliency(network).attribute(_fresh(inputs), target=targets)
    captum.InputXGradient(network).attribute(_fresh(inputs), target=targets)
    grad_cam = captum.LayerGradCam(network, network.get_submodule(setting.layer))
    cells: Any = grad_cam.attribute(_fresh(inputs), target=targets, relu_attributions=True)
    captum.LayerAttribution.interpolate(cells, inputs.shape[2:], LINEAR[inputs.ndim - 2])


def _captum_smooth_grad(setting: Setting) -> None:
    tunnel = captum.NoiseTunnel(captum.Saliency(setting.behind_view))
    tunnel.attribute(
        _fresh(setting.inputs), target=setting.targets, nt_samples=N, nt_samples_batch_size=1, stdevs=0.15, abs=False
    )


def _captum_integrated_gradients(setting: Setting) -> None:
    captum.IntegratedGradients(setting.behind_view).attribute(
        _fresh(setting.inputs), target=setting.targets, n_steps=N, internal_batch_size=len(setting.inputs)
    )


def _captum_gradient_shap(setting: Setting) -> None:
    # all samples at once: Captum offers no other way
    captum.GradientShap(setting.behind_view).attribute(
        _fresh(setting.inputs), baselines=setting.background, target=setting.targets, n_samples=N
    )


def _captum_kernel_shap(setting: Setting) -> None:
    # case by case: so Captum goes through a batch
    labels = supervoxels(setting.inputs.shape[2:], BOXES).to(setting.inputs.device)[None, None]
    with torch.no_grad():
        captum.KernelShap(setting.network).attribute(
            setting.inputs, target=setting.targets, feature_mask=labels, n_samples=COALITIONS
        )


def _captum_occlusion(setting: Setting) -> None:
    channels, *space = setting.inputs.shape[1:]
    side = (channels, *[space[0] // 4] * len(space))
    with torch.no_grad():
        captum.Occlusion(setting.network).attribute(setting.inputs, side, strides=side, target=setting.targets)


def _captum_guided_backprop(setting: Setting) -> None:
    captum.GuidedBackprop(setting.network).attribute(_fresh(setting.inputs), target=setting.targets)


def ways(setting: Setting) -> dict[str, Way]:
    """Every way by its name, the baseline first, Captum's after ours."""
    hide = Occlusion(window=setting.inputs.shape[2] // 4)
    return {
        "one forward + input-backward (baseline)": one_pass,
        "fedxai: three maps": ours(*THREE),
        "Captum: three maps": _captum_three,
        "fedxai: six one-pass maps": ours(*SIX),
        f"fedxai: integrated_gradients, {N} steps": ours(IntegratedGradients(steps=N)),
        f"fedxai: integrated_gradients, {MANY} steps": ours(IntegratedGradients(steps=MANY)),
        f"Captum: IntegratedGradients, {N} steps": _captum_integrated_gradients,
        f"fedxai: smooth_grad, {N} samples": ours(SmoothGrad(samples=N)),
        f"Captum: NoiseTunnel, {N} samples": _captum_smooth_grad,
        f"fedxai: expected_gradients, {N} samples": ours(ExpectedGradients(samples=N)),
        f"Captum: GradientShap, {N} samples": _captum_gradient_shap,
        f"fedxai: kernel_shap, {COALITIONS} samples": ours(KernelShap(supervoxels=BOXES, samples=COALITIONS)),
        f"Captum: KernelShap, {COALITIONS} samples": _captum_kernel_shap,
        "fedxai: occlusion, 4 windows an axis": ours(hide),
        "Captum: Occlusion, 4 windows an axis": _captum_occlusion,
        "fedxai: guided_backprop": ours(GuidedBackprop()),
        "Captum: GuidedBackprop": _captum_guided_backprop,
    }


def window_ways(setting: Setting) -> dict[str, Way]:
    """A volume of 27 windows, half a volume long and a quarter overlapping; the baseline is the pass of one of them."""
    side = setting.inputs.shape[2] // 2
    inferer = SlidingWindowInferer((side, side, side), overlap=0.25)

    def gradient(volume: Setting, logits: Callable[[Tensor], Tensor], images: Tensor) -> None:
        inputs = _fresh(images)
        torch.autograd.grad(logits(inputs)[:, 1].sum(), inputs)

    return {
        "one window, forward + input-backward (baseline)": lambda volume: gradient(
            volume, volume.network, volume.inputs[:, :, :side, :side, :side]
        ),
        "fedxai: gradient over 27 windows": lambda volume: gradient(
            volume, Windowed(volume.network, inferer), volume.inputs
        ),
        "PyTorch: the same, all windows kept": lambda volume: gradient(
            volume, lambda images: inferer(images, volume.network), volume.inputs
        ),
    }


def measure(setting: Setting, all_ways: dict[str, Way], *, repetitions: int) -> list[Cost]:
    """The cost of every way, the baseline first."""
    baseline = next(iter(all_ways))
    flops, memory = {}, {}
    for name, way in all_ways.items():
        memory[name] = _peak_memory(way, setting)  # warms up, too
        with FlopCounterMode(display=False) as counter:
            way(setting)
        flops[name] = counter.get_total_flops()
    seconds: dict[str, list[float]] = {name: [] for name in all_ways}
    for turn in range(repetitions):
        names = list(all_ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(_timed(all_ways[name], setting))
    return [
        Cost(
            name=name,
            flops=flops[name],
            flops_ratio=flops[name] / flops[baseline],
            seconds=statistics.median(seconds[name]),
            seconds_ratio=statistics.median(
                own / other for own, other in zip(seconds[name], seconds[baseline], strict=True)
            ),
            memory_ratio=memory[name] / memory[baseline],
        )
        for name in all_ways
    ]


def _peak_memory(way: Way, setting: Setting) -> int:
    """Bytes allocated at most at one time during the call, above what was before."""
    if setting.inputs.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way(setting)
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        way(setting)
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _timed(way: Way, setting: Setting) -> float:
    start = time.perf_counter()
    way(setting)
    if setting.inputs.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def settings(*, quick: bool, device: str) -> list[Setting]:
    """2D: 128 x 128, batch 16; 3D: 96 x 96 x 96, one case; smaller when quick."""
    flat, solid = ((2, 1, 32, 32), (1, 1, 12, 12, 12)) if quick else ((16, 1, 128, 128), (1, 1, 96, 96, 96))
    torch.manual_seed(0)
    return [_setting(group_norm_network(len(shape) - 2), shape, device) for shape in (flat, solid)]


def group_norm_network(dims: int) -> nn.Module:
    """Three stages of two convolutions with group normalisation, and a linear head: 72,000 weights in 2D."""
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    features, channels = nn.Sequential(), 1
    for width in (16, 32, 64):
        for stride in (1 if channels == 1 else 2, 1):
            features.append(convolution(channels, width, 3, stride=stride, padding=1))
            features.extend([nn.GroupNorm(8, width), nn.ReLU()])
            channels = width
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("head", nn.Sequential(pool(1), nn.Flatten(), nn.Linear(channels, 3)))
    return network


def _setting(network: nn.Module, shape: Sequence[int], device: str) -> Setting:
    inputs = torch.rand(*shape, device=device)
    network = network.to(device).eval().requires_grad_(False)
    with torch.no_grad():
        targets = network(inputs).argmax(dim=1)
    size = " x ".join(str(length) for length in shape[2:])
    return Setting(
        name=f"{len(shape) - 2}D {size}, batch {shape[0]}, GroupNorm network",
        network=network,
        layer=LAST,
        inputs=inputs,
        targets=targets,
        background=torch.rand(4, *shape[1:], device=device),
    )


def windowed_setting(*, quick: bool, device: str) -> Setting:
    """One volume of 96 x 96 x 96, 24 when quick, and a network that segments it into 3 classes without pooling."""
    length = 24 if quick else 96
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 16), (16, 16)):
        layers += [nn.Conv3d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Conv3d(16, 3, 1)).to(device).eval().requires_grad_(False)
    inputs = torch.rand(1, 1, length, length, length, device=device)
    return Setting(
        name=f"3D {length} x {length} x {length} in 27 windows, batch 1, segmentation network",
        network=network,
        layer="0",
        inputs=inputs,
        targets=torch.ones(1, dtype=torch.long, device=device),
        background=inputs,
    )


def main(arguments: Sequence[str] | None = None) -> list[list[Cost]]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small images, few repetitions")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repetitions", type=int, help="turns of each way (default 5, quick 3)")
    options = parser.parse_args(arguments)
    repetitions = options.repetitions or (3 if options.quick else 5)
    print(f"device {options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    results = []
    for setting in settings(quick=options.quick, device=options.device):
        costs = measure(setting, ways(setting), repetitions=repetitions)
        results.append(costs)
        _print(setting, costs, repetitions)
        _print_goals(costs)
    volume = windowed_setting(quick=options.quick, device=options.device)
    results.append(measure(volume, window_ways(volume), repetitions=repetitions))
    _print(volume, results[-1], repetitions)
    return results


def _print(setting: Setting, costs: Sequence[Cost], repetitions: int) -> None:
    print(f"\n{setting.name}; median of {repetitions} turns")
    print(f"{'':42}{'GFLOPs':>10}{'passes':>8}{'ms':>10}{'passes':>8}{'memory':>8}")
    for cost in costs:
        print(
            f"{cost.name:42}{cost.flops / 1e9:10.3f}{cost.flops_ratio:8.2f}"
            f"{cost.seconds * 1e3:10.1f}{cost.seconds_ratio:8.2f}{cost.memory_ratio:8.2f}"
        )


def _print_goals(costs: Sequence[Cost]) -> None:
    by_name = {cost.name: cost for cost in costs}
    three = by_name["fedxai: three maps"]
    met = f"{MET[three.flops_ratio <= GOAL]} in FLOPs, {MET[three.seconds_ratio <= GOAL]} in time"
    print(f"goal: three maps at most {GOAL} x the baseline: {met}")
    for count in (N, MANY):
        steps = by_name[f"fedxai: integrated_gradients, {count} steps"]
        met = f"{MET[steps.flops_ratio <= count + 1]}, {MET[steps.memory_ratio <= MEMORY_GOAL]}"
        print(f"goal: {count} steps at most {count + 1} passes in FLOPs, and {MEMORY_GOAL} x the memory of one: {met}")


if __name__ == "__main__":
    main()
