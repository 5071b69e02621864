# SPDX-License-Identifier: Apache-2.0
"""A cohort: a folder with ``dataset.json``, a Medical Segmentation Decathlon datalist (contract 1)."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from fedxai.errors import CohortError
from fedxai.records import SPLITS, Case, CaseCounts, Holding, Split, Task
from fedxai.whole_file import write_whole

DATALIST = "dataset.json"


class Cohort:
    """The cases of one site. Make one with :meth:`open` or :meth:`write`.

    Attributes:
        folder: where it lies; every path in ``dataset.json`` is relative to it.
        name, description, modality: as written there.
        class_names: the name of label 0, 1, ...; of a segmentation cohort, of value 0 (background), 1, ... in its maps.
        pseudonyms: cohorts where this is the same, and not empty, share their patients' pseudonyms.
    """

    def __init__(self, *, folder: Path, datalist: Mapping[str, Any]) -> None:
        _check(datalist, folder)
        self.folder = folder
        self.name = str(datalist.get("name", folder.name))
        self.description = str(datalist.get("description", ""))
        self.modality = str(datalist["modality"]["0"])
        self.class_names = [str(datalist["labels"][str(i)]) for i in range(len(datalist["labels"]))]
        self.pseudonyms = str(datalist.get("pseudonyms", ""))
        self._cases: dict[str, list[Case]] = {
            split: [_case(entry, folder) for entry in datalist.get(split, [])] for split in SPLITS
        }

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, leaks: bool = False) -> "Cohort":
        """Read and check ``dataset.json``; the images themselves are not opened.

        Args:
            folder: the cohort.
            leaks: open it even where a patient is in two splits (``fedxai cohort check`` does, to list them).

        Raises:
            CohortError: there is no datalist, it breaks a rule of contract 1, or it lists no case.
        """
        folder = Path(folder).absolute()
        try:
            datalist = json.loads((folder / DATALIST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CohortError(
                f"No cohort in '{folder}': it has no {DATALIST}; make one with 'fedxai intake'."
            ) from None
        except (OSError, ValueError) as error:
            raise CohortError(f"{folder / DATALIST} cannot be read: {_first_line(error)}.") from None
        cohort = cls(folder=folder, datalist=datalist)
        if not leaks:
            cohort._refuse_leaks()
        return cohort

    @classmethod
    def write(
        cls,
        folder: str | os.PathLike[str],
        *,
        name: str,
        description: str,
        modality: str,
        class_names: Sequence[str],
        splits: Mapping[Split, Sequence[Case]],
        pseudonyms: str = "",
    ) -> "Cohort":
        """Write ``dataset.json`` beside the files that the cases name: whole, or not at all.

        Raises:
            CohortError: a case lies outside the folder, has an unknown label, or a patient is in two splits.
        """
        folder = Path(folder).absolute()
        datalist = {
            "name": name,
            "description": description,
            "modality": {"0": modality},
            "labels": {str(i): text for i, text in enumerate(class_names)},
            **({"pseudonyms": pseudonyms} if pseudonyms else {}),
            **{f"num{split.capitalize()}": len(splits.get(split, ())) for split in get_args(Split)},
            **{split: [_entry(case, folder) for case in splits.get(split, ())] for split in get_args(Split)},
        }
        cohort = cls(folder=folder, datalist=datalist)
        cohort._refuse_leaks()
        write_whole(folder / DATALIST, (json.dumps(datalist, indent=1) + "\n").encode())
        return cohort

    @property
    def task(self) -> Task:
        """Whether a case's label is a class or a label map; a cohort holds one kind."""
        return next(case.task for cases in self._cases.values() for case in cases)

    def cases(self, split: Split) -> list[Case]:
        """Return the cases of one split, with absolute paths."""
        if split not in SPLITS:
            raise CohortError(f"Unknown split {split!r}; use {', '.join(SPLITS)}.")
        return list(self._cases[split])

    def splits(self) -> dict[Split, list[Case]]:
        """Return the cases of every split."""
        return {split: self.cases(split) for split in SPLITS}

    def counts(self) -> CaseCounts:
        """Return how many cases each split has."""
        return CaseCounts(**{split: len(self._cases[split]) for split in SPLITS})

    def holding(self) -> Holding:
        """Count what the site holds, |D_total| of Eq. 6: case records, and bytes of its distinct files."""
        cases = [case for split in SPLITS for case in self._cases[split]]
        files = {self.folder / DATALIST, *(path for case in cases for path in case.files)}
        size = sum(path.stat().st_size for path in files if path.is_file())
        return Holding(case_records=len(cases), bytes=size)

    def _refuse_leaks(self) -> None:
        homes: dict[str, str] = {}
        for split in SPLITS:
            for case in self._cases[split]:
                home = homes.setdefault(case.group, split) if case.group else split
                if home != split:
                    raise CohortError(
                        f"{self.folder / DATALIST}: patient {case.group} is in {home} and in {split}; "
                        "a patient must be in one split only, see 'fedxai cohort check'."
                    )


def site_cohorts(root: str | os.PathLike[str]) -> dict[str, Path]:
    """List the cohorts of a root: site name to folder, in natural order (``site-2`` before ``site-10``).

    Raises:
        CohortError: there is no such folder, or no folder in it holds a cohort.
    """
    root = Path(root).absolute()
    if not root.is_dir():
        raise CohortError(f"Cohorts root '{root}' does not exist.")
    found = {entry.name: entry for entry in root.iterdir() if (entry / DATALIST).is_file()}
    if not found:
        raise CohortError(f"Cohorts root '{root}' must hold a folder with {DATALIST} per site; it has none.")
    return {name: found[name] for name in sorted(found, key=_natural)}


def cohorts_at(path: str | os.PathLike[str]) -> dict[str, Path]:
    """List what a path holds: one cohort under its folder's name, or the cohorts of a root.

    Raises:
        CohortError: it is neither.
    """
    path = Path(path).absolute()
    return {path.name: path} if (path / DATALIST).is_file() else site_cohorts(path)


def _natural(name: str) -> tuple[str, int, str]:
    """Sort key that reads a trailing number as a number."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0), name


def _first_line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0].rstrip(".")


def _case(entry: Mapping[str, Any], folder: Path) -> Case:
    return Case(
        image=folder / entry["image"],
        label=folder / entry["label"] if isinstance(entry["label"], str) else entry["label"],
        region=folder / entry["region"] if entry.get("region") else None,
        group=str(entry.get("group", "")),
        tabular=dict(entry.get("tabular", {})),
        spacing=tuple(entry["spacing"]) if "spacing" in entry else None,
    )


def _entry(case: Case, folder: Path) -> dict[str, Any]:
    """One line of the datalist; what a case does not have is left out."""
    label = _relative(case.label, folder) if isinstance(case.label, Path) else case.label
    entry: dict[str, Any] = {"image": _relative(case.image, folder), "label": label}
    if case.region is not None:
        entry["region"] = _relative(case.region, folder)
    if case.group:
        entry["group"] = case.group
    if case.tabular:
        entry["tabular"] = case.tabular
    if case.spacing:
        entry["spacing"] = list(case.spacing)
    return entry


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.absolute().relative_to(folder).as_posix()
    except ValueError:
        raise CohortError(f"Files of a cohort must lie inside its folder '{folder}'; one does not.") from None


def _check(datalist: Any, folder: Path) -> None:
    """Refuse a datalist that breaks contract 1, in one sentence that says where."""
    where = f"{folder / DATALIST}:"
    if not isinstance(datalist, Mapping):
        raise CohortError(f"{where} must hold a JSON object, got {type(datalist).__name__}.")
    labels = datalist.get("labels")
    if not isinstance(labels, Mapping) or not labels or set(labels) != {str(i) for i in range(len(labels))}:
        raise CohortError(f'{where} labels must name every class as {{"0": name, "1": name, ...}}.')
    modality = datalist.get("modality")
    if not isinstance(modality, Mapping) or "0" not in modality:
        raise CohortError(f'{where} modality must be given as {{"0": name}}.')
    for split in SPLITS:
        entries = datalist.get(split, [])
        if not isinstance(entries, list):
            raise CohortError(f"{where} {split} must be a list, got {type(entries).__name__}.")
        for number, entry in enumerate(entries):
            _check_entry(entry, len(labels), f"{where} {split} case {number}")
    if not any(datalist.get(split) for split in SPLITS):
        raise CohortError(f"{where} lists no case in {', '.join(SPLITS)}.")
    if len({isinstance(entry["label"], str) for split in SPLITS for entry in datalist.get(split, [])}) > 1:
        raise CohortError(f"{where} must give every case a class, or every case a label map; it mixes them.")


def _check_entry(entry: Any, classes: int, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise CohortError(f"{where} must be a JSON object, got {type(entry).__name__}.")
    label = entry.get("label")
    mapped = isinstance(label, str) and bool(PurePosixPath(label).suffix)
    if not mapped and (isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes):
        raise CohortError(f"{where} must have an integer label from 0 to {classes - 1}, or the path of a label map.")
    for key in ("image", *(["label"] if mapped else []), "region"):
        text = entry.get(key)
        if key == "region" and text is None:
            continue
        if not isinstance(text, str) or not _stays_inside(text):
            raise CohortError(f"{where} must have a relative {key} path that stays in the cohort's folder.")
    if "spacing" in entry and not _is_spacing(entry["spacing"]):
        raise CohortError(f"{where} must have two lengths above 0 mm as its spacing: between rows, between columns.")


def _is_spacing(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(mm) in (int, float) and mm > 0 for mm in value)


def _stays_inside(text: str) -> bool:
    path = PurePosixPath(text)
    return bool(path.parts) and not path.is_absolute() and not {"..", "\\"} & {*path.parts, *text}
