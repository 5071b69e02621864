# SPDX-License-Identifier: Apache-2.0
"""TensorBoard events read back."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedxai.records import RunSummary
from fedxai.report.events import Events


def test_scalars_read_back_as_they_were_reported(summary: RunSummary, tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        for part in summary.rounds:
            events.add_round(part)
        for model in summary.final:
            events.add_final(model)
    read = EventAccumulator(str(tmp_path)).Reload()
    losses = {scalar.step: scalar.value for scalar in read.Scalars("global/loss")}
    assert losses == {part.round: pytest.approx(part.global_loss) for part in summary.rounds}
    assert [scalar.step for scalar in read.Scalars("training_loss/site-3")] == [1, 2, 4, 5, 6]
    assert [scalar.step for scalar in read.Scalars("E_gradient_x_input/all")] == [1, 3, 5]
    assert [scalar.step for scalar in read.Scalars("E_gradient_x_input/chance")] == [1, 3, 5]
    auc = summary.final[1].evaluations["site-2"].metrics["macro_auc"].value
    assert read.Scalars("best_macro_auc/site-2")[0].value == pytest.approx(auc)
    assert read.Scalars("best_macro_auc/site-2")[0].step == 5


def test_undefined_values_are_left_out(summary: RunSummary, tmp_path: Path) -> None:
    bare = summary.rounds[0].model_copy(update={"global_loss": None, "sites": []})
    with Events(tmp_path) as events:
        events.add_round(bare)
    assert "global/loss" not in EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
