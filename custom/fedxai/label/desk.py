# SPDX-License-Identifier: Apache-2.0
"""The reading desk: the served model, the images of the site, and what readers said of them."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import Tensor, stack

from fedxai.errors import CohortError, ExplanationError
from fedxai.explain import METHODS
from fedxai.intake.evenly import evenly
from fedxai.intake.volume import Volume
from fedxai.label.feedback import Drawn, Feedback, Said
from fedxai.label.grids import affine_of, write_mask
from fedxai.label.model_watch import ModelWatch
from fedxai.label.readers import common, drawings, label_map
from fedxai.label.served import Looked, Prepared, Served
from fedxai.score import chance, score_map
from fedxai.score.regions import Regions

_BACKGROUND, _CANDIDATES = 16, 32  # images to compare with, and how many are looked at for as many of one size
Scores = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Where the model looks in one image, and what is known of it."""

    method: str
    looked: Looked
    prepared: Prepared
    region: Tensor | None  # (1, *spatial), boolean: what readers drew of the explained class
    scores: Scores  # empty without a region; E is relevance_mass
    chance: Scores  # what a map that knows nothing scores there


class Desk:
    """Asks the served model about the site's images.

    Args:
        watch: the model.
        feedback: what readers said.
        images: ids of the site's images, by which a background of some methods is drawn.
        path_of: the file of an image.
        elsewhere: of an image and the model's class names, what was drawn at other workstations, by reader.
    """

    def __init__(
        self,
        *,
        watch: ModelWatch,
        feedback: Feedback,
        images: Callable[[], Sequence[str]],
        path_of: Callable[[str], str],
        elsewhere: Callable[[str, Sequence[str]], Mapping[str, Drawn]],
    ) -> None:
        self.watch, self.feedback = watch, feedback
        self._images, self._path_of, self._elsewhere = images, path_of, elsewhere
        self._fitting: tuple[str, tuple[int, ...], dict[Path, Tensor]] | None = None

    def served(self) -> Served:
        """The model that is served now.

        Raises:
            FedxaiError: there has been none yet.
        """
        return self.watch.current()

    def methods(self) -> list[str]:
        """All saliency methods, those that the bundle names first."""
        named = [name for name in self.served().bundle.explain.methods if name in METHODS]
        return [*named, *(name for name in METHODS if name not in named)]

    def path(self, image: str) -> Path:
        """The file of an image.

        Raises:
            CohortError: there is none.
        """
        found = self._path_of(image)
        if not found:
            raise CohortError("This server has no such image.")
        return Path(found)

    def drawn(self, served: Served, image_id: str) -> list[Drawn]:
        """What readers drew on an image, here or elsewhere.

        Raises:
            RunError: the archive does not answer.
        """
        elsewhere = self._elsewhere(image_id, served.bundle.class_names)
        return list(drawings(self.feedback, image_id, elsewhere).values())

    def prepare(self, served: Served, image: Path, drawn: Sequence[Drawn] = ()) -> Prepared:
        """An image, and what readers drew on it together, once for all methods and classes that it is asked about.

        Raises:
            CohortError: the image cannot be prepared.
        """
        if not drawn:
            return served.prepare(image)
        with tempfile.TemporaryDirectory(prefix="fedxai-") as folder:
            return served.prepare(image, region=_together(served, drawn, image, Path(folder)))

    def look(self, served: Served, prepared: Prepared, method: str, *, target: int | None = None) -> Answered:
        """Explain one image; scored where a reader drew on it.

        Raises:
            ExplanationError: the method is unknown, cannot explain this network, lacks images to compare with, or puts
                out what is not finite.
        """
        compares = METHODS.make(method).needs_background
        background = self._compared_with(served, prepared, method) if compares else None
        looked = served.look(prepared, method, target=target, background=background)
        if not bool(looked.relevance.isfinite().all()):
            raise ExplanationError(f"{method} gives a map that is not finite for this image; choose another method")
        region = prepared.regions.get(looked.target)
        scores, level = ({}, {}) if region is None else scored(looked, region, prepared.spacing)
        return Answered(method=method, looked=looked, prepared=prepared, region=region, scores=scores, chance=level)

    def checked(self, said: Said) -> Said:
        """What was said, with the class's name as the model writes it.

        Raises:
            CohortError: the model tells no classes.
            ExplanationError: there is no class of that name.
        """
        if said.label is None:
            return said
        served = self.served()
        place = served.class_of(said.label)
        if served.segments or place is None:
            raise CohortError("this model segments and tells no class; correct it by drawing")
        return said.model_copy(update={"label": served.bundle.class_names[place]})

    def _compared_with(self, served: Served, prepared: Prepared, method: str) -> Tensor:
        """At most 16 other prepared images of the site, spread over its list, as large as this one.

        Raises:
            ExplanationError: there is none.
        """
        grid = tuple(prepared.image.shape)
        key = (served.bundle.digest, grid)
        kept = self._fitting
        if kept is None or kept[:2] != key:
            kept = (*key, self._of_size(served, grid))
        others = [image for path, image in kept[2].items() if path != prepared.path]
        self._fitting = kept if others else None
        if not others:
            size = " x ".join(map(str, grid))
            raise ExplanationError(
                f"{method} needs other images of the site, {size} as this one, to compare with; "
                f"found none among at most {_CANDIDATES}; choose another method"
            )
        return stack(others)

    def _of_size(self, served: Served, grid: tuple[int, ...]) -> dict[Path, Tensor]:
        """By file, at most 16 images of a size: every second of 32 that are spread over the list goes first."""
        chosen = evenly(sorted(self._images()), _CANDIDATES)
        readable = self._readable(served, [*chosen[::2], *chosen[1::2]])
        fitting = (one for one in readable if tuple(one.image.shape) == grid)
        return {one.path: one.image.as_tensor() for one in islice(fitting, _BACKGROUND)}

    def _readable(self, served: Served, images: Sequence[str]) -> Iterator[Prepared]:
        """Prepared images, less those that cannot be read."""
        for image in images:
            with suppress(CohortError):
                yield served.prepare(self.path(image))


def scored(looked: Looked, region: Tensor, spacing: Sequence[float] | None) -> tuple[Scores, Scores]:
    """By score, its value and what a uniform map reaches."""
    known = Regions.of(region[None], spacing)
    values, levels = score_map(looked.relevance[None], known), chance(known)
    return tuple({name: _known(float(value[0])) for name, value in kind.items()} for kind in (values, levels))  # pyright: ignore


def _together(served: Served, drawn: Sequence[Drawn], image: Path, folder: Path) -> Path:
    """A file of what readers drew together, as a cohort would keep it: a mask, of a segmentation a label map."""
    affine = affine_of(image)
    if not served.segments:
        return write_mask(common([one.region for one in drawn]), image, affine, folder / "region")
    file = folder / "label.nii.gz"
    Volume(voxels=label_map(drawn, served.bundle.class_names), affine=affine).write(file)
    return file


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
