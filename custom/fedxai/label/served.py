# SPDX-License-Identifier: Apache-2.0
"""A trained network and the means to ask it about one image, prepared as in training; answers go back to its grid."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform
from monai.transforms.utils import allow_missing_keys_mode, convert_applied_interp_mode
from numpy.typing import NDArray
from torch import Tensor

from fedxai.bundle import Bundle
from fedxai.errors import BundleError, CohortError, ExplanationError
from fedxai.explain import explain_batch
from fedxai.explain.windowed import as_inferred
from fedxai.intake.pixels import is_picture
from fedxai.label.grids import RIGHT_AND_DOWN
from fedxai.records import Case
from fedxai.train.explained_cases import by_class
from fedxai.train.prepare import RegionBeside, as_tensor
from fedxai.train.spacing import Spacing, keep_places


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image on the network's grid.

    Attributes:
        path: its file.
        image: ``(C, *spatial)``, with what was done to it.
        regions: by class, ``(1, *spatial)``, boolean; of a class without a region, or with an empty one, nothing.
        spacing: mm from voxel to voxel; None for a picture, which does not say.
    """

    path: Path
    image: MetaTensor
    regions: Mapping[int, Tensor]
    spacing: Sequence[float] | None


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Where a network looks in one image.

    Attributes:
        relevance: ``(1, *spatial)``, summed over channels, on the network's grid and the CPU.
        target: the explained class.
    """

    relevance: Tensor
    target: int


class Served:
    """One model, ready to answer; one question at a time.

    Args:
        bundle: its network, transforms and the question that explanations answer.
        weights: of the network.
        digest: SHA-256 of the file that they came in.
        device: where it computes.

    Raises:
        BundleError: the weights don't fit, or the bundle may not run.
    """

    def __init__(self, *, bundle: Bundle, weights: Mapping[str, Tensor], digest: str, device: torch.device) -> None:
        self.bundle, self.digest, self.device = bundle, digest, device
        self._network = bundle.network().to(device).eval()
        try:
            self._network.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise BundleError(f"the weights of bundle {bundle.name} don't fit its network; export it again") from error
        self._parser = bundle.parser({"device": device, "network": self._network})
        keep_places(self._parser.config)
        self._transform: Any = self._parser.get_parsed_content("validate#preprocessing")
        for step in self._transform.flatten().transforms:
            if isinstance(step, MapTransform):
                step.allow_missing_keys = True  # at the bedside there is no label
        self._spacing = Spacing(self._transform)
        self._inferer = self._parser.get_parsed_content("validate#inferer")
        self.asked = as_inferred(self._network, self._inferer)
        self._one_at_a_time = Lock()

    @property
    def identity(self) -> dict[str, str]:
        """Which model this is, as it stands in every answer."""
        known = self.bundle.identity
        return {"name": known.name, "version": known.version, "digest": known.digest, "weights": self.digest}

    def weights(self) -> dict[str, NDArray[Any]]:
        """The network's tensors, by name."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self._network.state_dict().items()}

    @property
    def segments(self) -> bool:
        """Whether it draws, instead of telling a class."""
        return self.bundle.task == "segmentation"

    @property
    def dimension(self) -> int:
        """Axes of its images."""
        return dimension_of(self.bundle)

    def prepare(self, image: Path, *, region: Path | None = None) -> Prepared:
        """An image, and the region of each class, as training prepares them.

        Args:
            image: its file.
            region: a mask on the image's grid, which is every class's; for a segmentation, a label map.

        Raises:
            CohortError: a file cannot be prepared for this network.
        """
        with _readable():
            item = self._transform(
                {"image": str(image), **({"label": str(region)} if region and self.segments else {})}
            )
            if not isinstance(item["image"], MetaTensor):
                raise BundleError(f"bundle {self.bundle.name}: a transform drops where the image's voxels lie")
            regions = self._regions(item, region) if region else {}
        spacing = self._spacing.of(item["image"], Case(image=image, label=0))
        return Prepared(path=image, image=item["image"].detach(), regions=regions, spacing=spacing)

    def logits(self, prepared: Prepared) -> Tensor:
        """Logits ``(K,)``, of a segmentation ``(K, *spatial)``, as the site's evaluation computes them."""
        with self._asking(), torch.no_grad(), torch.autocast(self.device.type, enabled=self._amp):
            images = as_tensor(prepared.image)[None].to(self.device)
            return as_tensor(self._inferer(images, self._network))[0].float().cpu()

    def look(
        self, prepared: Prepared, method: str, *, target: int | None = None, background: Tensor | None = None
    ) -> Looked:
        """The map of one method.

        Raises:
            ExplanationError: the method is unknown or cannot explain this network.
        """
        with self._asking():
            explained = explain_batch(
                self.asked,
                as_tensor(prepared.image)[None],
                targets=target,
                methods=[method],
                target_layer=self.bundle.explain.target_layer,
                background=background,
                black=self.bundle.explain.input_range[0],
            )
        relevance = explained.maps[method][0].sum(dim=0, keepdim=True).float().cpu()
        return Looked(relevance=as_tensor(relevance), target=int(explained.targets[0]))

    def class_of(self, name: object) -> int | None:
        """A class by name or number; None where none is named.

        Raises:
            ExplanationError: there is no such class.
        """
        if name in (None, ""):
            return None
        names = self.bundle.class_names
        known = {**{str(place): place for place in range(len(names))}, **{n.lower(): i for i, n in enumerate(names)}}
        if str(name).lower() not in known:
            raise ExplanationError(f"unknown class; choose from {', '.join(names)}")
        return known[str(name).lower()]

    def onto_image(self, values: Tensor, prepared: Prepared, *, nearest: bool) -> NDArray[Any]:
        """What lies on the network's grid, ``(1, *spatial)``, on the image's own, ``(X, Y, Z)``; 0 beyond that grid.

        Each spatial step of the preparation is undone, the last first, by MONAI.

        Args:
            values: numbers of voxels, or with ``nearest`` their kinds.
            prepared: the image.
            nearest: take the nearest value instead of a linear mixture.
        """
        operations = _with_modes(prepared.image.applied_operations, len(values.shape) - 1, nearest)
        carried = MetaTensor(values.float(), meta=deepcopy(prepared.image.meta), applied_operations=operations)
        with allow_missing_keys_mode(self._transform):
            back: Any = self._transform.inverse({"image": carried})
        voxels = as_tensor(back["image"])[0].numpy()
        if not is_picture(prepared.path):
            return voxels
        return (voxels if self._spacing.columns_first else voxels.T)[:, :, None]

    def affine_of(self, prepared: Prepared) -> NDArray[Any]:
        """Where the image's own grid lies in the patient, RAS mm."""
        if is_picture(prepared.path):
            return RIGHT_AND_DOWN
        return np.asarray(prepared.image.meta["original_affine"], dtype=np.float64)

    @cached_property
    def _amp(self) -> bool:
        given = "amp" in self._parser.get("validate#evaluator")
        return bool(self._parser.get_parsed_content("validate#evaluator#amp")) if given else False

    @cached_property
    def _beside(self) -> RegionBeside:
        self._parser.set(self.bundle.explain.region, "explained_region")
        return RegionBeside(self._parser.get_parsed_content("explained_region"))

    def _regions(self, item: dict[str, Any], region: Path) -> dict[int, Tensor]:
        classes = range(len(self.bundle.class_names))
        if self.segments:
            return {one["label"]: one["region"] for one in by_class(item, len(classes)) if one["has_region"]}
        inside = as_tensor(self._beside({**item, "region": str(region)})["region"]).bool()
        return dict.fromkeys(classes, inside) if bool(inside.any()) else {}

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._one_at_a_time:
            yield


def dimension_of(bundle: Bundle) -> int:
    """Axes of the images that a bundle takes."""
    return len(bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])


def _with_modes(operations: Sequence[Any], dims: int, nearest: bool) -> list[Any]:
    """What was done to an image, to be undone by the nearest value or linearly, whatever mode it was done in."""
    linear = {"Resize": {2: "bilinear", 3: "trilinear"}[dims]}
    return [
        convert_applied_interp_mode(
            deepcopy(step), mode="nearest" if nearest else linear.get(step.get("class", ""), "bilinear")
        )
        for step in operations
    ]


@contextmanager
def _readable() -> Iterator[None]:
    """A file that MONAI cannot read or prepare is one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise CohortError("The image cannot be prepared for this network; see `fedxai cohort check`.") from error
