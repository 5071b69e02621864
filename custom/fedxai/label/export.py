# SPDX-License-Identifier: Apache-2.0
"""What readers drew and corrected becomes the region and the label of a cohort's cases, for the next round."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.cohort import DATALIST, Cohort
from fedxai.intake.pixels import is_picture
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume
from fedxai.label.archive import Archive
from fedxai.label.elsewhere import drawn_elsewhere
from fedxai.label.feedback import FOLDER, Drawn, Feedback, Opinion
from fedxai.label.grids import IMAGES, read_image, write_mask
from fedxai.label.readers import Rule, agreed_label, common, drawings, label_map
from fedxai.label.series import MODALITIES
from fedxai.records import Case, Count, Record, Split
from fedxai.whole_file import write_whole

_HOMES = (".", "volumes")  # where images lie: a folder of studies, or what was brought from an archive
_Place = tuple[Split, int]  # of a case: its split, and where in it


class Exported(Record):
    """What an export did."""

    images: Count  # that readers said something of
    regions: Count  # cases with a drawn region (of a segmentation, label map) now
    labels: Count  # cases whose class was corrected
    differing: Count  # cases whose readers name different classes: left as they are
    unknown: Count  # images that are not in the cohort


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image that readers said something of."""

    opinions: list[Opinion]  # what each reader said here
    drawn: list[Drawn]  # what each drew, here or elsewhere
    place: _Place | None  # None: it is not in the cohort


def export(studies: Path, cohort: Path, *, rule: Rule = "majority", archive: Archive | None = None) -> Exported:
    """Write what readers said into a cohort; the datalist before it stays beside it, with the time in its name.

    Images are matched by the name of their file, else by their content. A region lies where the readers' regions lie
    together (:func:`fedxai.label.readers.common`); a class is corrected where all who named one agree.

    Args:
        studies: the folder that was served, or the folder ``archive`` of the server's state.
        cohort: which the images are of.
        rule: how several readers' regions become one.
        archive: where the studies are, for what was drawn at other workstations; None: only what was drawn here.

    Raises:
        CohortError: there is no feedback or no cohort, a class is unknown to the cohort, or a drawing does not fit.
        RunError: the archive does not answer.
    """
    opened = Cohort.open(cohort)
    splits = opened.splits()
    done = dict.fromkeys(Exported.model_fields, 0)
    for image in _images(studies, opened, archive):
        done["images"] += 1
        if image.place is None:
            done["unknown"] += 1
            continue
        split, place = image.place
        before = splits[split][place]
        splits[split][place] = after = _updated(image, before, opened, rule)
        drawn = (after.region, after.label) if opened.task == "segmentation" else after.region
        done["regions"] += drawn != ((before.region, before.label) if opened.task == "segmentation" else before.region)
        done["labels"] += opened.task == "classification" and after.label != before.label
        done["differing"] += len({opinion.label for opinion in image.opinions if opinion.label}) > 1
    if not done["images"]:
        raise CohortError(f"There is no feedback in {studies.name!r}: nobody has saved a region or a rating there.")
    if done["regions"] or done["labels"]:
        _write(opened, splits)
    return Exported(**done)


def _images(studies: Path, cohort: Cohort, archive: Archive | None) -> Iterator[_Image]:
    """Every image with feedback, or with a region that another workstation drew; one at a time, for they are large."""
    feedback, places = Feedback(studies / FOLDER), _Places(cohort)
    said = set(feedback.images())
    in_archive = archive.drawn() & archive.images(_modalities(cohort)) if archive else set()
    for image in sorted(said | in_archive):
        there = archive if image in in_archive else None
        elsewhere, shown = _in_archive(there, image, cohort.class_names) if there else ({}, [])
        if image in said or elsewhere:
            yield _Image(
                opinions=feedback.opinions(image),
                drawn=list(drawings(feedback, image, elsewhere).values()),
                place=places.of(image, chain(shown, (_content(read_image(file)) for file in _files(studies, image)))),
            )


def _in_archive(archive: Archive, image: str, class_names: Sequence[str]) -> tuple[dict[str, Drawn], list[str]]:
    """By reader, what other workstations drew on a series, and, where they did, the content of the series."""
    with TemporaryDirectory(prefix="fedxai-") as private:
        bring = cache(partial(archive.fetch, image, Path(private)))
        drawn = drawn_elsewhere(archive, image, class_names, bring=bring)
        return drawn, [_content(bring().volume())] if drawn else []


def _modalities(cohort: Cohort) -> Sequence[str]:
    """Of the series that cases of a cohort are made of."""
    first = next(case for listed in cohort.splits().values() for case in listed)
    return MODALITIES[2 if is_picture(first.image) else 3]


def _updated(image: _Image, case: Case, cohort: Cohort, rule: Rule) -> Case:
    """The case as its readers see it."""
    drawn = image.drawn
    if cohort.task == "segmentation":
        classes = {name.lower() for name in cohort.class_names[1:]}
        drawn = [one for one in drawn if classes & {name.lower() for name in one.names}]
        if not drawn:
            return case
        labels = Volume(voxels=label_map(drawn, cohort.class_names), affine=drawn[0].affine)
        moved = onto_grid(labels, read_image(case.image))
        return replace(case, label=cohort.folder / "labels" / moved.write_into(_made(cohort.folder / "labels")))
    named = agreed_label(image.opinions)
    corrected = case if named is None else replace(case, label=_class(named, cohort))
    if not drawn:
        return corrected
    inside = common([one.region for one in drawn], rule)
    return replace(corrected, region=_stored(inside, drawn[0].affine, case, cohort.folder / "regions"))


def _stored(inside: NDArray[np.bool_], affine: NDArray[np.float64], case: Case, folder: Path) -> Path | None:
    """The region beside the cohort's other regions, under the hash of its content; None where it is empty."""
    image = read_image(case.image)
    moved = onto_grid(Volume(voxels=inside.astype(np.uint8), affine=affine), image).voxels > 0
    if not moved.any():
        return None
    with TemporaryDirectory(prefix="fedxai-") as private:
        file = write_mask(moved, case.image, image.affine, Path(private) / "region")
        content = file.read_bytes()
        path = _made(folder) / f"{hashlib.sha256(content).hexdigest()[:16]}{''.join(file.suffixes)}"
    write_whole(path, content)
    return path


class _Places:
    """Where a cohort keeps an image: by the name of its file, else by what it shows."""

    def __init__(self, cohort: Cohort) -> None:
        self._cases: list[tuple[_Place, Case]] = [
            ((split, place), case) for split, listed in cohort.splits().items() for place, case in enumerate(listed)
        ]
        self._by_name = {_identity(case.image): place for place, case in self._cases}

    @cached_property
    def _by_content(self) -> dict[str, _Place]:
        return {_content(read_image(case.image)): place for place, case in self._cases}

    def of(self, image: str, contents: Iterable[str]) -> _Place | None:
        """The place of an image, by its id or else the first of the contents that is there."""
        if image in self._by_name:
            return self._by_name[image]
        return next((self._by_content[one] for one in contents if one in self._by_content), None)


def _files(studies: Path, image: str) -> Iterator[Path]:
    for home in _HOMES:
        yield from (file for ending in IMAGES if (file := studies / home / f"{image}{ending}").is_file())


def _content(image: Volume) -> str:
    """A hash of what an image shows, whatever its file or the order of its axes."""
    voxels = image.canonical().voxels
    return hashlib.sha256(f"{voxels.shape}".encode() + voxels.astype(np.float32).tobytes()).hexdigest()


def _identity(path: Path) -> str:
    return next((path.name.removesuffix(ending) for ending in IMAGES if path.name.endswith(ending)), path.name)


def _class(name: str, cohort: Cohort) -> int:
    known = {own.lower(): place for place, own in enumerate(cohort.class_names)}
    if name.lower() not in known:
        raise CohortError(f"A reader names a class that the cohort does not have; it has {', '.join(known)}.")
    return known[name.lower()]


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _write(cohort: Cohort, splits: dict[Split, list[Case]]) -> None:
    stamp = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%f}"
    shutil.copyfile(cohort.folder / DATALIST, cohort.folder / f"dataset.before-{stamp}.json")
    Cohort.write(
        cohort.folder,
        name=cohort.name,
        description=cohort.description,
        modality=cohort.modality,
        class_names=cohort.class_names,
        splits=splits,
        pseudonyms=cohort.pseudonyms,
    )
