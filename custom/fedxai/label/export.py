# SPDX-License-Identifier: Apache-2.0
"""What readers drew and corrected becomes the region and the label of a cohort's cases, for the next round."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fedxai.errors import CohortError
from fedxai.intake.cohort import DATALIST, Cohort
from fedxai.intake.resample import onto_grid
from fedxai.intake.volume import Volume
from fedxai.label.feedback import FOLDER, Feedback
from fedxai.label.grids import is_picture, read_image, write_mask
from fedxai.label.readers import Rule, agreed_label, common, drawings, label_map
from fedxai.records import Case, Count, Record, Split
from fedxai.whole_file import write_whole

_HOMES = (".", "volumes")  # where images lie: a folder of studies, or what was brought from an archive
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".png", ".jpg", ".jpeg")
_Place = tuple[Split, int]  # of a case: its split, and where in it


class Exported(Record):
    """What an export did."""

    images: Count  # that readers said something of
    regions: Count  # cases with a drawn region (of a segmentation, label map) now
    labels: Count  # cases whose class was corrected
    differing: Count  # cases whose readers name different classes: left as they are
    unknown: Count  # images that are not in the cohort


def export(studies: Path, cohort: Path, *, rule: Rule = "majority") -> Exported:
    """Write what readers said into a cohort; the datalist before it stays beside it, with the time in its name.

    Images are matched by the name of their file, else by their content. A region lies where the readers' regions lie
    together (:func:`fedxai.label.readers.common`); a class is corrected where all who named one agree.

    Args:
        studies: the folder that was served, or the folder ``archive`` of the server's state.
        cohort: which the images are of.
        rule: how several readers' regions become one.

    Raises:
        CohortError: there is no feedback or no cohort, a class is unknown to the cohort, or a drawing does not fit.
    """
    feedback = Feedback(studies / FOLDER)
    said = feedback.images()
    if not said:
        raise CohortError(f"There is no feedback in {studies.name!r}: nobody has saved a region or a rating there.")
    opened = Cohort.open(cohort)
    places = _matched(studies, said, opened)
    splits = opened.splits()
    done = {"regions": 0, "labels": 0, "differing": 0}
    for image, (split, place) in places.items():
        before = splits[split][place]
        splits[split][place] = after = _updated(feedback, image, before, opened, rule)
        drawn = (after.region, after.label) if opened.task == "segmentation" else after.region
        done["regions"] += drawn != ((before.region, before.label) if opened.task == "segmentation" else before.region)
        done["labels"] += opened.task == "classification" and after.label != before.label
        named = {opinion.label for opinion in feedback.opinions(image) if opinion.label}
        done["differing"] += len(named) > 1
    if done["regions"] or done["labels"]:
        _write(opened, splits)
    return Exported(images=len(said), unknown=len(said) - len(places), **done)


def _updated(feedback: Feedback, image: str, case: Case, cohort: Cohort, rule: Rule) -> Case:
    """The case as its readers see it."""
    drawn = list(drawings(feedback, image).values())
    if cohort.task == "segmentation":
        if not drawn:
            return case
        labels = Volume(voxels=label_map(drawn, cohort.class_names), affine=drawn[0].affine)
        moved = onto_grid(labels, read_image(case.image))
        return replace(case, label=cohort.folder / "labels" / moved.write_into(_made(cohort.folder / "labels")))
    named = agreed_label(feedback.opinions(image))
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


def _matched(studies: Path, said: list[str], cohort: Cohort) -> dict[str, _Place]:
    """Of each image its place in the cohort, as far as it is there."""
    cases: list[tuple[_Place, Case]] = [
        ((split, place), case) for split, listed in cohort.splits().items() for place, case in enumerate(listed)
    ]
    by_name = {_identity(case.image): place for place, case in cases}
    found = {image: by_name[image] for image in said if image in by_name}
    rest = {image: file for image in said if image not in found for file in _files(studies, image)}
    if rest:
        by_content = {_content(case.image): place for place, case in cases}
        found |= {image: by_content[key] for image, file in rest.items() if (key := _content(file)) in by_content}
    return found


def _files(studies: Path, image: str) -> Iterator[Path]:
    for home in _HOMES:
        yield from (file for ending in _ENDINGS if (file := studies / home / f"{image}{ending}").is_file())


def _content(path: Path) -> str:
    """A hash of what an image shows, whatever its file or the order of its axes."""
    volume = read_image(path)
    voxels = (volume if is_picture(path) else volume.canonical()).voxels
    return hashlib.sha256(f"{voxels.shape}".encode() + voxels.astype(np.float32).tobytes()).hexdigest()


def _identity(path: Path) -> str:
    return next((path.name.removesuffix(ending) for ending in _ENDINGS if path.name.endswith(ending)), path.name)


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
