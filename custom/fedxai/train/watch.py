# SPDX-License-Identifier: Apache-2.0
"""What a round of training is watched by, and the learning-rate schedule it goes on with."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ignite.engine import Events
from monai.engines import IterationEvents

from fedxai.errors import TrainingError
from fedxai.train.segmentation import check_map


def watch_losses(trainer: Any, stop: Callable[[], bool]) -> list[float]:
    """Collect every step's loss; a loss that is not finite ends the round before it reaches the weights.

    Args:
        trainer: MONAI's.
        stop: asked after every step; training ends early once it is true.

    Returns:
        The list that fills.
    """
    losses: list[float] = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def end_early(engine: Any) -> None:
        if stop():
            engine.terminate()

    @trainer.on(IterationEvents.LOSS_COMPLETED)
    def collect(engine: Any) -> None:
        loss = float(engine.state.output["loss"].detach())
        if not np.isfinite(loss):
            raise TrainingError(f"the training loss must be finite, got {loss} at step {len(losses) + 1} of the round")
        losses.append(loss)

    return losses


def watch_maps(trainer: Any, classes: int) -> None:
    """Let a label map with a value that is no class end the round before a loss is made of it."""
    trainer.add_event_handler(
        IterationEvents.FORWARD_COMPLETED,
        lambda engine: check_map(engine.state.output["label"], classes, augmented=True),
    )


def bring_schedule(parser: Any, trainer: Any, *, epochs: int) -> None:
    """Bring the bundle's learning-rate schedule to where it is after ``epochs``, and let it step every epoch."""
    if "lr_scheduler" not in parser.config:
        return
    scheduler = parser.get_parsed_content("lr_scheduler")
    for _ in range(epochs):
        scheduler.optimizer._opt_called = True  # the earlier epochs' steps were taken in earlier rounds
        scheduler.step()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: scheduler.step())
