# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as a reader sees them: metrics and methods in words, bytes and seconds in units."""

import math
from datetime import datetime, timezone

UNKNOWN = "–"
BASELINES = ("mean", "blurred")  # besides black, as the names of methods end
_UNITS = ("B", "kB", "MB", "GB", "TB")

_WORDS = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
    "ece": "Calibration error",
    "mean_dice": "Mean Dice",
    "mean_hd95": "Mean HD95, mm",
    "relevance_mass": "E, magnitude |S|",
    "relevance_mass_positive": "E, positive part",
    "relevance_mass_signed": "E, signed (Eq. 5 literally)",
    "relevance_mass_corrected": "E, corrected for chance",
    "relevance_mass_margin": "E, region with a margin",
    "relevance_rank": "Rank accuracy",
    "pointing_game": "Pointing game",
    "iou_best": "IoU, best threshold",
    "iou_fixed": "IoU, fixed quantile",
    "gini": "Gini index",
    "saliency": "Saliency",
    "gradient_x_input": "Gradient × input",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "Integrated Gradients",
    "expected_gradients": "Expected gradients",
    "kernel_shap": "KernelSHAP",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "guided_backprop": "Guided backpropagation",
    "occlusion": "Occlusion",
    "occlusion_mass": "Occlusion mass",
    "occlusion_ceiling": "Its ceiling",
    "drop_region": "Drop, region filled",
    "drop_elsewhere": "Drop, elsewhere filled",
    "drop_grey": "Drop, region grey",
    "swap_kept": "Kept, outside swapped",
    "blank_kept": "Kept, outside black",
    "soft_mass": "E, soft path",
    "update": "Model updates",
    "evaluation": "Evaluation figures",
    "explanation": "Explanation figures",
    "survey": "Survey answers",
    "statistics": "Data statistics",
    "centralised": "Centralised",
    "local-only": "Local only",
    "federated": "Federated",
    "FedXAI-Med": "FedXAI-Med",
    "last": "last",
    "best": "best",
}
_ACRONYMS = {"mri": "MRI", "ct": "CT", "xray": "X-ray", "auc": "AUC", "pet": "PET", "cxr": "CXR"}


def words(name: str) -> str:
    """``name`` in words: the known ones by table, any other with spaces, capitals and acronyms."""
    if name in _WORDS:
        return _WORDS[name]
    stem, _, baseline = name.rpartition("_")
    if baseline in BASELINES and stem in _WORDS:
        return f"{_WORDS[stem]}, {baseline} baseline"
    if name.startswith("hd95_"):
        return f"HD95 {words(name.removeprefix('hd95_')).lower()}, mm"
    text = " ".join(_ACRONYMS.get(part, part) for part in name.replace("-", "_").split("_") if part)
    return text[:1].upper() + text[1:]


def in_a_sentence(name: str) -> str:
    """``words`` with a small first letter, unless it begins an acronym."""
    text = words(name)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def short(name: str, width: int = 24) -> str:
    """``name`` cut in its middle to at most ``width`` characters."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def number(value: float | None, decimals: int = 3) -> str:
    """A number with so many decimals, or a dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def probability(value: float | None) -> str:
    """A p to 4 decimals, ``< 0.0001`` where that would read 0, or a dash where it is undefined."""
    text = number(value, 4)
    return "< 0.0001" if text == "0.0000" else text


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return UNKNOWN if value is None else f"{value:,}"


def size(value: float | None) -> str:
    """Bytes in decimal units: ``1.23 MB``."""
    if value is None:
        return UNKNOWN
    power = 0
    while value >= 999.5 and power < len(_UNITS) - 1:
        value, power = value / 1000, power + 1
    digits = 0 if power == 0 or value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:.{digits}f} {_UNITS[power]}"


def duration(seconds: float | None) -> str:
    """Seconds as ``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def explained_cases(n: int, *, by_class: bool) -> str:
    """``4 cases``; of a segmentation, which explains a case once for each class, ``4 pairs of case and class``."""
    return plural(n, "pair of case and class", "pairs of case and class") if by_class else plural(n, "case")


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 site``, ``4 sites``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def readable_time(text: str) -> str:
    """``2026-03-04 15:06 UTC`` from ISO 8601; the text as it came where it is not that."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    time = time.replace(tzinfo=time.tzinfo or timezone.utc)
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
