# SPDX-License-Identifier: Apache-2.0
"""What our one extra file, ``configs/explain.json``, says of a bundle."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ExplainConfig(BaseModel):
    """``configs/explain.json``: what makes a bundle explainable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: list[str] = Field(description="Saliency methods, by their names in the registry.", min_length=1)
    target_layer: str | None = Field(None, description="Module path of the layer that Grad-CAM reads.")
    relevance_layer: str | None = Field(None, description="Module path of the layer that gives a cell's relevance.")
    target_class: Literal["predicted", "label"] = Field("predicted", description="The class that is explained.")
    region: dict[str, Any] | Literal["label"] = Field(
        description="MONAI transforms that bring a region onto the image's grid; 'label': a class's own label map."
    )
    input_range: tuple[float, float] = Field((0.0, 1.0), description="Range of the network's input; black first.")
    mapping: dict[str, str] = Field(
        {}, description="Ids in the bundle by the engine's ids (train#trainer ...), where the bundle has its own names."
    )
    class_names: list[str] | None = Field(
        None, description="One name a class, where metadata.json does not name the output's channels."
    )
