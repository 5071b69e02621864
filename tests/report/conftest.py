# SPDX-License-Identifier: Apache-2.0
"""A realistic run: four hospitals, six rounds, three classes; one site is away in round 3."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure as Picture

from fedxai.records import (
    Absence,
    BundleIdentity,
    CaseCounts,
    Choice,
    Comparison,
    Evaluation,
    Explanation,
    Figure,
    Holding,
    Honesty,
    MethodSummary,
    ModelSummary,
    Outgoing,
    PrivacyScore,
    RoundSummary,
    RunSummary,
    ShortcutAlarm,
    ShortcutSearch,
    SiteRound,
    SiteSummary,
    SystemResult,
    Timing,
    TrustTest,
)

SITES = ("site-1", "site-2", "site-3", "site-4")
TRAINING = (620, 410, 240, 130)
CLASSES = ("meningioma", "glioma", "pituitary tumour")
METHODS = ("saliency", "gradient_x_input", "grad_cam")
ROUNDS = 6


def figure(value: float, n: int, width: float = 0.03) -> Figure:
    return Figure(value=value, n=n, low=value - width, high=min(value + 0.8 * width, 1.0))


def method_summary(name: str, e: float, scored: int) -> MethodSummary:
    width = 0.25 / scored**0.5
    return MethodSummary(
        method=name,
        scored=scored,
        unscored=scored // 9,
        undefined={"relevance_mass": 0, "relevance_mass_signed": scored // 40},
        scores={
            "relevance_mass": figure(e, scored, width),
            "relevance_mass_positive": figure(e * 1.1, scored, width),
            "relevance_mass_signed": Figure(value=-0.31, n=scored, low=-2.4, high=1.9),
            "pointing_game": figure(min(1.6 * e, 0.97), scored, width),
        },
        chance={
            "relevance_mass": figure(0.084, scored, 0.01),
            "relevance_mass_positive": figure(0.084, scored, 0.01),
            "relevance_mass_signed": figure(0.084, scored, 0.01),
            "pointing_game": figure(0.084, scored, 0.01),
        },
        trust=trust_tests(name, scored),
    )


def trust_tests(method: str, scored: int) -> list[TrustTest]:
    """Gradient × input passes all four, Grad-CAM fails one, saliency has too few cases for one."""
    odd = {"grad_cam": ("faithfulness", "failed", -0.04), "saliency": ("robustness", "undecided", 0.51)}
    usual = {"randomisation": (0.12, 0.5), "faithfulness": (0.31, 0.0), "robustness": (0.83, 0.5)}
    tests = []
    for name, (value, threshold) in (usual | {"localisation": (0.11, 0.0)}).items():
        test, outcome, odd_value = odd.get(method, ("", "", 0.0))
        tests.append(
            TrustTest.model_validate(
                {
                    "name": name,
                    "outcome": outcome if test == name else "passed",
                    "value": figure(odd_value if test == name else value, min(scored, 16)).model_dump(),
                    "threshold": threshold,
                }
            )
        )
    return tests


def explanation(split: str, cases: int, lift: float) -> Explanation:
    e = dict(zip(METHODS, (0.21, 0.29, 0.41), strict=True))
    return Explanation.model_validate(
        {
            "split": split,
            "cases": cases,
            "methods": [
                method_summary(name, value * lift, cases - cases // 10).model_dump() for name, value in e.items()
            ],
            "seconds": 0.02 * cases,
            "passes": cases // 16 + 1,
        }
    )


def evaluation(cases: int, auc: float, seed: int) -> Evaluation:
    generator = np.random.default_rng(seed)
    per_class = np.array([0.25, 0.45, 0.30]) * cases
    right = np.array([0.82, 0.91, 0.96])
    confusion: list[list[int | None]] = []
    for index in range(3):
        shares = np.full(3, (1 - right[index]) / 2)
        shares[index] = right[index]
        row = generator.multinomial(int(per_class[index]), shares)
        confusion.append([None if 0 < cell < 5 else int(cell) for cell in row])
    width = 0.4 / cases**0.5
    values = {
        "accuracy": 0.90 + 2 * (auc - 0.974),
        "balanced_accuracy": 0.885,
        "macro_f1": 0.89,
        "macro_auc": auc,
        "ece": 0.041,
        "loss": 0.31,
    }
    metrics = {name: figure(value, cases, width) for name, value in values.items()}
    return Evaluation(split="test", cases=cases, patients=cases // 8, metrics=metrics, confusion=confusion)


def site_round(index: int, round_: int) -> SiteRound:
    progress = 1 - np.exp(-0.6 * round_)
    cases = TRAINING[index] // 5
    return SiteRound(
        name=SITES[index],
        training_loss=1.1 - 0.8 * progress + 0.05 * index,
        validation={
            "loss": figure(1.1 - 0.72 * progress + 0.06 * index, cases),
            "macro_auc": figure(0.5 + 0.47 * progress - 0.012 * index, cases),
            "accuracy": figure(0.35 + 0.55 * progress - 0.02 * index, cases),
        },
        steps=TRAINING[index] // 16,
        seconds=4.0 + TRAINING[index] / 60,
        explanation=explanation("validation", 64, 0.45 + 0.5 * progress - 0.03 * index) if round_ % 2 else None,
    )


def round_summary(round_: int) -> RoundSummary:
    away = 2 if round_ == 3 else None
    progress = 1 - np.exp(-0.6 * round_)
    return RoundSummary(
        round=round_,
        sites=[site_round(index, round_) for index in range(4) if index != away],
        missing=[] if away is None else [Absence(name=SITES[away], reason="no answer within 60 s")],
        global_loss=1.1 - 0.72 * progress + 0.04,
        selection_metric=0.5 + 0.47 * progress - 0.01,
        update_bytes=4_812_300 if away is None else 3_609_200,
        seconds=15.2 + round_ / 10,
    )


def model_summary(which: str, round_: int) -> ModelSummary:
    tests = [cases // 4 for cases in TRAINING]
    evaluations = {
        name: evaluation(cases, 0.983 - 0.011 * index - 0.004 * (which == "last"), index)
        for index, (name, cases) in enumerate(zip(SITES, tests, strict=True))
    }
    explanations = {
        name: explanation("test", cases, 1 - 0.07 * index + 0.05 * (which == "last"))
        for index, (name, cases) in enumerate(zip(SITES, tests, strict=True))
    }
    return ModelSummary.model_validate(
        {
            "which": which,
            "round": round_,
            "metrics": evaluation(sum(tests), 0.974, 9).model_dump()["metrics"],
            "confusion": [[80, 11, None], [6, 141, None], [0, None, 103]],
            "explanation": [m.model_dump() for m in explanation("test", sum(tests), 0.96).methods],
            "evaluations": {name: value.model_dump() for name, value in evaluations.items()},
            "explanations": {name: value.model_dump() for name, value in explanations.items()},
            "honesty": honesty(120).model_dump(),
            "shortcuts": shortcuts(int(which == "best")).model_dump(),
            "site_agreement": [site_agreement("site-1", 0.97), site_agreement("site-3", 0.71)],
            "by_construction": False,
        }
    )


def honesty(cases: int) -> Honesty:
    values = {
        "occlusion_mass": 0.24,
        "occlusion_ceiling": 0.6,
        "drop_region": 0.31,
        "drop_elsewhere": 0.02,
        "drop_grey": 0.22,
        "swap_kept": 0.88,
        "blank_kept": 0.71,
    }
    return Honesty(cases=cases, figures={name: figure(value, cases) for name, value in values.items()})


def site_agreement(site: str, value: float) -> dict[str, Any]:
    return {"site": site, "class_index": 1, "agreement": figure(value, 30), "alike": 0.93, "chance": 0.99}


def shortcuts(alarms: int) -> ShortcutSearch:
    alarm = ShortcutAlarm(
        site="site-3",
        class_index=1,
        place="corner_0_4",
        share=figure(0.12, 40),
        expected=0.021,
        p_adjusted=0.00001,
        advice="site-3 has 12.0% of the relevance for glioma in corner piece 0-4 where the other sites let one expect "
        "2.1%: open that site's gallery at glioma and look there for a mark.",
    )
    notes = ["site-4, meningioma: not enough cases told, of it or of another class, to look for a shortcut."]
    return ShortcutSearch(alarms=[alarm] * alarms, tests=204, notes=notes)


def choice(**changes: Any) -> Choice:
    values = {"key_metric": "macro_auc", "e_floor": 0.2, "round": 5, "metric": 0.941, "e": 0.27}
    by_metric = {"round_by_metric": 6, "metric_by_metric": 0.945, "e_by_metric": 0.15}
    return Choice.model_validate({**values, **by_metric, **changes})


def outgoing(index: int) -> list[Outgoing]:
    return [
        Outgoing(kind="update", messages=ROUNDS, bytes=7_218_000 + index),
        Outgoing(kind="evaluation", messages=2 * ROUNDS, bytes=18_400 + 37 * index),
        Outgoing(kind="explanation", messages=5, bytes=9_120 + 11 * index),
        Outgoing(kind="survey", messages=1, bytes=412),
    ]


def bundle() -> BundleIdentity:
    return BundleIdentity(
        name="brain_mri_tumour_classification", version="0.1.0", digest="3f" * 32, class_names=list(CLASSES)
    )


def privacy(shared: int = 0) -> PrivacyScore:
    return PrivacyScore(
        case_records_shared=shared,
        case_records_total=2310,
        score=1 - shared / 2310,
        bytes_shared=28_984_000,
        bytes_total=31_870_000,
        bytes_ratio=28_984_000 / 31_870_000,
        summary_bytes=112_000,
        update_bytes=28_872_000,
    )


def run_summary() -> RunSummary:
    last, best = model_summary("last", ROUNDS), model_summary("best", 5)
    return RunSummary(
        job="fedxai",
        created="2026-03-04T15:06:07+00:00",
        versions={
            "fedxai-med": "0.1.0",
            "torch": "2.13.0",
            "monai": "1.6.1",
            "nvflare": "2.9.0",
            "python": "3.11.2",
        },
        settings={
            "rounds": ROUNDS,
            "local_epochs": 1,
            "seed": 0,
            "keep_optimizer": True,
            "learning_rate": 1e-3,
        },
        bundle=bundle(),
        sites=[
            SiteSummary(
                name=name,
                cases=CaseCounts(training=cases, validation=cases // 5, test=cases // 4),
                metrics=last.evaluations[name],
                explanation=last.explanations[name],
                outgoing=outgoing(index),
                holding=Holding(case_records=int(cases * 1.45), bytes=cases * 15_000),
            )
            for index, (name, cases) in enumerate(zip(SITES, TRAINING, strict=True))
        ],
        rounds=[round_summary(round_) for round_ in range(1, ROUNDS + 1)],
        final=[last, best],
        choice=choice(),
        bytes=[
            Outgoing(kind="update", messages=24, bytes=28_872_006),
            Outgoing(kind="evaluation", messages=48, bytes=73_822),
            Outgoing(kind="explanation", messages=20, bytes=36_546),
            Outgoing(kind="survey", messages=4, bytes=1_648),
        ],
        privacy=privacy(),
        timing=Timing(total=128.4, training=93.1, explaining=14.2),
        notes=["site-3 gave no answer within 60 s in round 3; the round went on with 3 of 4 sites."],
    )


def system_results(seeds: int) -> list[SystemResult]:
    level = {
        "centralised": (0.985, 0.93),
        "local-only": (0.94, 0.85),
        "federated": (0.979, 0.915),
        "FedXAI-Med": (0.981, 0.92),
    }
    generator = np.random.default_rng(0)
    results = []
    for seed in range(seeds):
        for system, (auc, accuracy) in level.items():
            for index, site in enumerate(SITES if system == "local-only" else (None,)):
                noise = generator.normal(0, 0.003, 3) - (0.02 * index if site else 0)
                results.append(
                    SystemResult.model_validate(
                        {
                            "system": system,
                            "seed": seed,
                            "site": site,
                            "steps": 600,
                            "metrics": {
                                "macro_auc": figure(auc + noise[0], 350).model_dump(),
                                "accuracy": figure(accuracy + noise[1], 350).model_dump(),
                                "macro_f1": figure(accuracy - 0.01 + noise[1], 350).model_dump(),
                            },
                            "explanation": [
                                method_summary(name, 0.2 + 0.05 * k + noise[2], 350).model_dump()
                                for k, name in enumerate(METHODS)
                            ],
                            "privacy": privacy(2310 if system == "centralised" else 0).model_dump(),
                            "seconds": 120.0 + seed,
                        }
                    )
                )
    return results


def comparison_of(seeds: int = 3) -> Comparison:
    return Comparison(
        created="2026-03-04T15:06:07+00:00",
        bundle=bundle(),
        sites={
            name: CaseCounts(training=cases, validation=cases // 5, test=cases // 4)
            for name, cases in zip(SITES, TRAINING, strict=True)
        },
        settings={"rounds": ROUNDS, "seeds": seeds, "split": "label-skew", "alpha": 0.3},
        results=system_results(seeds),
    )


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn matters here, not how sharply."""
    monkeypatch.setattr("fedxai.report.canvas._PIXELS_PER_INCH", 40)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """The pictures as they stand before they become pixels, which takes most of the time."""
    pictures: list[Picture] = []

    def keep(picture: Picture) -> bytes:
        pictures.append(picture)
        return b"drawn"

    for module in ("accuracy_figure", "learning_curves", "run_figures"):
        monkeypatch.setattr(f"fedxai.report.{module}.png", keep)
    return pictures


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of words and tables: its pictures take seconds to draw and have tests of their own."""
    monkeypatch.setattr("fedxai.report.run_report.run_figures", lambda summary: {})


@pytest.fixture
def summary() -> RunSummary:
    return run_summary()


@pytest.fixture
def comparison() -> Comparison:
    return comparison_of()


@pytest.fixture
def make_comparison() -> Callable[[int], Comparison]:
    return comparison_of


@pytest.fixture
def changed(summary: RunSummary) -> Callable[..., RunSummary]:
    """The run with some of its fields replaced, checked again."""

    def change(**fields: Any) -> RunSummary:
        return RunSummary.model_validate({**summary.model_dump(), **fields})

    return change


@pytest.fixture
def with_models(summary: RunSummary) -> Callable[..., RunSummary]:
    """The run with some fields of both final models replaced, checked again."""

    def change(**fields: Any) -> RunSummary:
        final = [{**model.model_dump(), **fields} for model in summary.final]
        return RunSummary.model_validate({**summary.model_dump(), "final": final})

    return change


@pytest.fixture
def summary_of() -> Callable[[str, float, int], MethodSummary]:
    return method_summary
