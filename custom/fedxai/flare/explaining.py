# SPDX-License-Identifier: Apache-2.0
"""How a site explains a global model: a few cases between rounds; at the end all, with the costly questions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedxai.flare.between_rounds import agreement_with_before
from fedxai.records import SPLITS, Explanation, Figure, Split
from fedxai.report.gallery import Gallery
from fedxai.report.reading import explained_quantity
from fedxai.score.examine import examine
from fedxai.settings import ExplainSettings
from fedxai.train.engine import SiteTrainer
from fedxai.train.round_files import RoundFiles

_AGREEING = 16  # cases whose maps are compared from round to round


def question(trainer: SiteTrainer, split: Split) -> tuple[dict[str, Any], dict[str, str]]:
    """How `fedxai.score.examine` is asked about the trainer's network in a split.

    Returns:
        Its arguments, and by method of the bundle that cannot explain the network the reason.
    """
    methods = trainer.bundle.explain.methods
    background = trainer.background(methods)
    able, refused = trainer.answering(methods, split, background)
    return {"split": split, "methods": able, "background": background, **trainer.bundle.question}, refused


def explain_round(trainer: SiteTrainer, settings: ExplainSettings, asked: dict[str, Any]) -> Explanation:
    """A few validation cases, without the costly questions."""
    batches = trainer.explanation_batches("validation", limit=settings.cases, batch_size=settings.batch_size)
    return examine(trainer.asked_network, batches, **asked)


def explain_final(
    trainer: SiteTrainer, settings: ExplainSettings, asked: dict[str, Any], folder: Path, *, root: Path
) -> Explanation:
    """The test cases, with trust tests, honesty battery and shortcut search; the gallery goes into ``folder``.

    The gallery, which stays at the site, names each image by its path below the cohort's folder ``root``.
    """
    batches = trainer.explanation_batches("test", limit=settings.final_cases, batch_size=settings.batch_size)
    task = trainer.bundle.task
    asked = {
        **asked,
        "trust_cases": settings.trust_cases,
        "honesty_cases": settings.honesty_cases,
        "searched": _searched(trainer, settings) if task == "classification" else (),
    }
    if not settings.gallery:
        return examine(trainer.asked_network, batches, **asked)
    with Gallery(
        folder,
        site=trainer.site,
        class_names=trainer.bundle.class_names,
        methods=asked["methods"],
        images=trainer.explained_images("test", limit=settings.final_cases, root=root),
        by_class=task == "segmentation",
        limit=settings.gallery,
    ) as gallery:
        explanation = examine(trainer.asked_network, batches, sink=gallery.add, **asked)
        gallery.conclude(explanation.methods, explained=explained_quantity(task, asked["target_class"]))
        return explanation


def round_agreement(trainer: SiteTrainer, settings: ExplainSettings, kept: RoundFiles, round_: int) -> Figure | None:
    """With the model explained before, on the same few validation cases."""
    limit, batch_size = min(settings.cases, _AGREEING), settings.batch_size
    return agreement_with_before(
        trainer,
        kept,
        round_,
        lambda: trainer.explanation_batches("validation", limit=limit, batch_size=batch_size),
    )


def _searched(trainer: SiteTrainer, settings: ExplainSettings) -> Iterator[dict[str, Any]]:
    """Cases of all splits: those of one rarely show every class in as many patients as an alarm rests on."""
    for split in SPLITS:
        yield from trainer.explanation_batches(split, limit=settings.shortcut_cases, batch_size=settings.batch_size)
