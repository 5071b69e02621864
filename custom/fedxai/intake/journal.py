# SPDX-License-Identifier: Apache-2.0
"""A cohort that grows: a case is stored whole or not at all, and known again on the next run."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from fedxai.errors import CohortError
from fedxai.intake.cohort import DATALIST, Cohort
from fedxai.intake.picture_case import PictureCase
from fedxai.intake.site_key import SiteKey
from fedxai.intake.volume import SUFFIX, Volume
from fedxai.intake.volume_case import VolumeCase
from fedxai.records import Case, Split
from fedxai.whole_file import write_whole

KINDS = ("images", "labels", "regions")
_JOURNAL = "journal.jsonl"
_KEY = "key"
_LOCK = ".lock"
_OURS = re.compile(r"[0-9a-f]{16}\.(nii\.gz|png)|\..*\.part")  # a file by its content, or half of one


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is written down about a case in the site: file names are hashes of contents, the rest pseudonyms."""

    source: str  # mark of all that was read for it
    patient: str
    image: str
    label: str  # a class, or the file of the label map
    region: str | None = None
    values: list[int] = field(default_factory=list)  # in the label map
    split: Split | None = None
    tabular: dict[str, float] = field(default_factory=dict)
    spacing: list[float] | None = None  # of a picture, where it is known; a volume's is in its file
    notes: list[str] = field(default_factory=list)

    @property
    def mapped(self) -> bool:
        """Whether the label is a map."""
        return self.label.endswith(SUFFIX)

    @property
    def files(self) -> list[str]:
        """Its files, relative to the cohort."""
        names = (self.image, self.label if self.mapped else None, self.region)
        return [f"{kind}/{name}" for kind, name in zip(KINDS, names, strict=True) if name]


def store(folder: Path, case: VolumeCase | PictureCase, *, source: str, patient: str) -> Stored:
    """Write a prepared case's files into a cohort, each whole and named by its content.

    Args:
        folder: the cohort.
        case: as its ``prepared()`` gives it.
        source: mark of what was read.
        patient: its pseudonym.

    Raises:
        OSError: the disk refuses.
    """
    return Stored(
        source=source,
        patient=patient,
        image=case.image.write_into(folder / "images"),
        label=case.label.write_into(folder / "labels") if isinstance(case.label, Volume) else case.label,
        region=None if case.region is None else case.region.write_into(folder / "regions"),
        values=[int(value) for value in np.unique(case.label.voxels)] if isinstance(case.label, Volume) else [],
        split=case.split,
        tabular=dict(case.tabular),
        spacing=list(case.spacing) if isinstance(case, PictureCase) and case.spacing else None,
        notes=list(case.notes),
    )


def key_of(out: Path, key: Path | None) -> Path:
    """Return the file of the key that a cohort's pseudonyms are made with: the given one, or the cohort's own."""
    return key or _beside(out.absolute()) / _KEY


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.intake")


class Journal:
    """What a site remembers of a cohort's intake, in ``COHORT.intake`` beside the cohort and never part of it.

    It holds the key (unless another is given), one line for every stored case, and the report. A case counts once
    its line is written, which is after its files are; what a broken run left without a line is swept away.

    Args:
        out: the cohort.
        key: file of the site's key; made where there is none.

    Raises:
        CohortError: ``out`` holds something that is not of this journal, was made with another key, or is being
            written by another process.
    """

    def __init__(self, out: Path, *, key: Path | None = None) -> None:
        self.out = out.absolute()
        self.folder = _beside(self.out)
        self._path = self.folder / _JOURNAL
        if self.out.exists() and any(self.out.iterdir()) and not self._path.is_file():
            raise CohortError(f"--out '{out}' holds something that this intake did not make; choose a new folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CohortError(f"Another intake is writing --out '{out}'; wait until it is done.") from None
        self.key = SiteKey.open(key_of(out, key))
        self._before = list(self._read())
        self.records: dict[str, Stored] = {}
        self.by_image: dict[str, Stored] = {}
        self._hold(self._before)
        self.cohort = Cohort.open(self.out) if (self.out / DATALIST).is_file() else None
        if self.cohort is not None and self.cohort.pseudonyms != self.key.name:
            raise CohortError(f"--out '{out}' was made with another --key; give that one, or choose a new folder.")
        for kind in KINDS:
            (self.out / kind).mkdir(parents=True, exist_ok=True)
        self._write(self._before)

    def keep(self, record: Stored) -> None:
        """Write one case down; from here on it counts."""
        with self._path.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(asdict(record)) + "\n")
        self._hold([record])

    def homes(self) -> dict[str, Split]:
        """Tell where an earlier run put the images that it took."""
        if self.cohort is None:
            return {}
        return {case.image.name: split for split, cases in self.cohort.splits().items() for case in cases}

    def case(self, record: Stored, label: int, patient: str) -> Case:
        """Return a case for the datalist; a label map stands before its class."""
        return Case(
            image=self.out / "images" / record.image,
            label=self.out / "labels" / record.label if record.mapped else label,
            region=self.out / "regions" / record.region if record.region else None,
            group=patient,
            tabular=record.tabular,
            spacing=(record.spacing[0], record.spacing[1]) if record.spacing else None,
        )

    def roll_back(self) -> None:
        """Forget what came since the journal was opened, and remove its files."""
        self.records, self.by_image = {}, {}
        self._hold(self._before)
        self._write(self._before)
        self.sweep()

    def close(self) -> None:
        """Sweep, and let others in."""
        try:
            self.sweep()
        finally:
            self._lock.release()

    def sweep(self) -> None:
        """Remove every file of our making that no line names, and folders that are empty; no case: no cohort."""
        named = {name for record in self.records.values() for name in record.files}
        for kind in KINDS:
            for path in (self.out / kind).glob("*"):
                if f"{kind}/{path.name}" not in named and _OURS.fullmatch(path.name):
                    path.unlink()
            if (self.out / kind).is_dir() and not any((self.out / kind).iterdir()):
                (self.out / kind).rmdir()
        if not self.records:
            self._path.unlink(missing_ok=True)
            if self.out.is_dir() and not any(self.out.iterdir()):
                self.out.rmdir()

    def _hold(self, records: Iterable[Stored]) -> None:
        for record in records:
            self.records[record.source] = record
            self.by_image.setdefault(record.image, record)

    def _read(self) -> Iterable[Stored]:
        if not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield Stored(**json.loads(line))
            except ValueError:  # the line that a power cut left half
                return

    def _write(self, records: Iterable[Stored]) -> None:
        write_whole(self._path, "".join(json.dumps(asdict(record)) + "\n" for record in records).encode())
