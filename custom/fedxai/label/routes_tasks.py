# SPDX-License-Identifier: Apache-2.0
"""Training, scoring and prediction of many cases: processes that MONAI Label starts, one of a kind at a time."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body

from fedxai.label import names
from fedxai.label.access import guarded

Params = Annotated[dict[str, Any] | None, Body()]


def routers() -> list[APIRouter]:
    """The routes of tasks for each role."""
    return [_readers(), _annotators(), _admins()]


def _readers() -> APIRouter:
    from monailabel.endpoints import batch_infer, scoring, train

    router = APIRouter(route_class=guarded("reader"))
    for address, module in (("/train/", train), ("/scoring/", scoring), ("/batch/infer", batch_infer)):
        router.add_api_route(address, _status(module), methods=["GET"])
    return router


def _annotators() -> APIRouter:
    from monailabel.endpoints import scoring

    router = APIRouter(route_class=guarded("annotator"))

    @router.post("/scoring/")
    def score_all(params: Params = None) -> Any:
        return scoring.run(names.task_settings(params))

    @router.post("/scoring/{method}")
    def score(method: str, params: Params = None, run_sync: bool = False) -> Any:
        return scoring.run_method(names.of_app("scoring method", method), names.task_settings(params), run_sync)

    @router.delete("/scoring/")
    def stop() -> Any:
        return scoring.stop()

    return router


def _admins() -> APIRouter:
    from monailabel.endpoints import batch_infer, train

    router = APIRouter(route_class=guarded("admin"))

    @router.post("/train/")
    def train_all(params: Params = None) -> Any:
        return train.run(names.task_settings(params))

    @router.post("/train/{model}")
    def train_one(model: str, params: Params = None, run_sync: bool = False, enqueue: bool = False) -> Any:
        return train.run_model(names.of_app("trainer", model), names.task_settings(params), run_sync, enqueue)

    @router.delete("/train/")
    def stop_training() -> Any:
        return train.stop()

    @router.post("/batch/infer/{model}")
    def predict_many(
        model: str,
        images: Literal["all", "labeled", "unlabeled"] = "all",
        params: Params = None,
        run_sync: bool = False,
    ) -> Any:
        names.of_app("model", model)
        asked = {**_one_device(), **names.task_settings(params)}
        return batch_infer.run(model, batch_infer.BatchInferImageType(images), asked, run_sync)

    @router.delete("/batch/infer")
    def stop_predicting() -> Any:
        return batch_infer.stop()

    return router


def _status(module: Any) -> Any:
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        return names.without_paths(module.status(all, check_if_running))

    return status


def _one_device() -> dict[str, Any]:
    """MONAI Label spreads cases over all GPUs by default and divides by their number, 0 where there is none."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"device": device, "multi_gpu": False, "max_workers": 1, "save_label": True, "label_tag": "original"}
