# SPDX-License-Identifier: Apache-2.0
"""Many sites' data statistics become one histogram, and one preprocessing for all of their bundles."""

from collections.abc import Iterable, Mapping, Sequence

from fedxai.errors import RunError
from fedxai.figures import DECIMALS
from fedxai.records import SPLITS, CaseCounts, Figure, Task
from fedxai.records_statistics import HistogramBin, Preprocessing, SiteStatistics, Window, edge

LOW, HIGH = 0.5, 99.5  # percentiles of the window


def pooled_histogram(sites: Iterable[SiteStatistics]) -> list[HistogramBin]:
    """The mean over all training cases of the sites that told a histogram: sites weigh by their training cases."""
    told = [site for site in sites if site.histogram]
    total = sum(site.cases.training for site in told)
    shares: dict[int, float] = {}
    cases: dict[int, int] = {}
    for site in told:
        for part in site.histogram:
            shares[part.bin] = shares.get(part.bin, 0.0) + (part.share.value or 0.0) * site.cases.training / total
            cases[part.bin] = cases.get(part.bin, 0) + part.share.n
    return [HistogramBin(bin=b, share=Figure(value=shares[b], n=cases[b])) for b in sorted(shares)]


def percentile(histogram: Sequence[HistogramBin], percent: float) -> float:
    """The value below which ``percent`` of the histogram lies, on a straight line within its bin.

    Raises:
        RunError: when the histogram is empty.
    """
    total = sum(part.share.value or 0.0 for part in histogram)
    if not total:
        raise RunError("the histogram is empty; no site had enough cases to tell one")
    wanted, below = percent / 100 * total, 0.0
    for part in histogram:
        share = part.share.value or 0.0
        if share and below + share >= wanted:
            return edge(part.bin) + (wanted - below) / share * (edge(part.bin + 1) - edge(part.bin))
        below += share
    return edge(histogram[-1].bin + 1)


def pooled_cases(sites: Iterable[SiteStatistics]) -> CaseCounts:
    """Cases of each split over all sites."""
    counts = [site.cases for site in sites]
    return CaseCounts(**{split: sum(getattr(part, split) for part in counts) for split in SPLITS})


def pooled_classes(sites: Iterable[SiteStatistics]) -> list[int]:
    """Cases of each class over the sites that held none back; nothing where every site did."""
    told = [[count for count in site.classes if count is not None] for site in sites if None not in site.classes]
    return [sum(counts) for counts in zip(*told, strict=True)]


def proposal(sites: Mapping[str, SiteStatistics], *, task: Task) -> tuple[Preprocessing, list[str]]:
    """One preprocessing for all sites, and in plain words what could not be said, or not with all of them.

    The window is the 0.5 and 99.5 percentiles of the pooled histogram; ``pixdim`` is the median spacing over the
    cases, each standing at the middle its site told; a class weighs n / (K n_k), with the n_k of the sites that held
    no class back. A segmentation has no class weights: how many maps show a class says nothing of its voxels.

    Raises:
        RunError: when some sites hold pictures and others volumes, or their classes differ in number.
    """
    for what, kinds in (
        ("axes", {len(site.shape) for site in sites.values() if site.shape}),
        ("classes", {len(site.classes) for site in sites.values()}),
    ):
        if len(kinds) > 1:
            raise RunError(f"sites differ in their number of {what}: {', '.join(map(str, sorted(kinds)))}")
    notes: list[str] = []
    histogram = pooled_histogram(sites.values())
    silent = [name for name, site in sites.items() if not site.histogram]
    notes += [f"Without intensities, as too few cases stand behind them: {', '.join(silent)}."] if silent else []
    window = _window(histogram)
    notes += [] if window else ["No intensity window: no site told one, or all values are alike."]
    weights = _weights(sites, notes) if task == "classification" else []
    return Preprocessing(window=window, pixdim=_median_spacing(sites.values()), class_weights=weights), notes


def _window(histogram: Sequence[HistogramBin]) -> Window | None:
    if len(histogram) < 2:
        return None
    return Window(low=round(percentile(histogram, LOW), DECIMALS), high=round(percentile(histogram, HIGH), DECIMALS))


def _median_spacing(sites: Iterable[SiteStatistics]) -> list[float]:
    """Along each axis, the weighted median of the sites' middles; nothing where an axis has none."""
    told = [site for site in sites if site.spacing and all(axis.middle.value is not None for axis in site.spacing)]
    return [
        _weighted_median([(site.spacing[axis].middle.value or 0.0, site.cases.training) for site in told])
        for axis in range(len(told[0].spacing) if told else 0)
    ]


def _weighted_median(weighted: list[tuple[float, int]]) -> float:
    """The smallest value at which half of the weight, or more, is reached."""
    half, below = sum(weight for _, weight in weighted) / 2, 0
    for value, weight in sorted(weighted):
        below += weight
        if below >= half:
            return value
    raise RunError("a median needs one value or more")


def _weights(sites: Mapping[str, SiteStatistics], notes: list[str]) -> list[float]:
    held = [name for name, site in sites.items() if None in site.classes]
    notes += (
        [f"Class weights are without {', '.join(held)}, where a class has too few cases to be told."] if held else []
    )
    counts = pooled_classes(sites.values())
    if not counts or not all(counts):
        notes.append("No class weights: a class has no case at the sites that told all of theirs.")
        return []
    return [round(sum(counts) / (len(counts) * count), DECIMALS) for count in counts]
