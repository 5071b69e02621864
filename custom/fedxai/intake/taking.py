# SPDX-License-Identifier: Apache-2.0
"""Sources of cases become a cohort, a case at a time; what is refused does not stop the rest."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from fedxai.errors import CohortError, SettingsError
from fedxai.intake.cohort import Cohort
from fedxai.intake.growth import admit, deal_cases, known_names, number_classes
from fedxai.intake.intake_report import Refusal, Taken, write_report
from fedxai.intake.journal import Journal, Stored, store
from fedxai.intake.patients import check_shares
from fedxai.intake.picture_case import PictureCase
from fedxai.intake.progress import Track, quiet
from fedxai.intake.site_key import SiteKey
from fedxai.intake.volume_case import VolumeCase
from fedxai.records import SPLITS, Case, Split


class Source(Protocol):
    """One case on its way in; it is pickled when there are workers.

    Attributes:
        place: how people find it again, without a name: "image 7", "row 12".
        patient: the patient in the hospital's words; only the pseudonym is kept. Nothing where nobody can tell whose
            it is, which is then refused.
    """

    @property
    def place(self) -> str:
        """As above."""
        ...

    @property
    def patient(self) -> str:
        """As above."""
        ...

    def fingerprint(self) -> bytes:
        """A digest of everything that would be read and of how; the same only for the same case."""
        ...

    def read(self) -> VolumeCase | PictureCase:
        """Read it.

        Raises:
            CohortError: it cannot be used; the sentence holds no name and no value of the hospital's.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class IntakeSettings:
    """How cases become a cohort, whatever files they come from."""

    validation: float = 0.1  # share of the cases, by whole patients
    test: float = 0.2
    class_names: Sequence[str] = ()  # of class 0, 1, ... or of value 0, 1, ... of the label maps
    modality: str = "MRI"
    seed: int = 0  # draws the split
    key: Path | None = None  # the site's key; by default one of the cohort's own
    workers: int = 1
    strict: bool = False  # take nothing in when anything is refused

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingsError(f"--workers must be at least 1, got {self.workers}.")
        check_shares(self.validation, self.test)


@dataclass(frozen=True, kw_only=True)
class _Marked:
    mark: str
    source: Source


def take_cases(
    sources: Sequence[Source],
    out: Path,
    *,
    settings: IntakeSettings,
    notes: Sequence[str] = (),
    track: Track = quiet,
) -> Taken:
    """Take what is new among the sources into a cohort, which may exist from an earlier run.

    Cases that were taken before keep their files, patients and splits; new patients are dealt to the splits so that
    the shares are kept. Identical images share a patient. A run that is cut off is taken up by the next one.

    Args:
        sources: the cases, in an order that means something to people.
        out: the cohort; what the site remembers of it lies in ``OUT.intake`` beside it.
        settings: shares, names, seed, key, workers.
        notes: what the person should know of how the sources were found; they stand in the report, before others.
        track: shows progress.

    Raises:
        CohortError: nothing could be taken, ``out`` cannot be written or is not of this intake, or ``strict`` and
            something was refused; then the cohort is as it was before.
    """
    with _disk(out):
        journal = Journal(out, key=settings.key)
        try:
            return _take(sources, journal, settings, notes, track)
        finally:
            journal.close()


def _take(
    sources: Sequence[Source], journal: Journal, settings: IntakeSettings, notes: Sequence[str], track: Track
) -> Taken:
    names = known_names(journal.cohort, settings.class_names)
    before = len(journal.by_image)
    with _spread(settings.workers) as spread:
        marks = spread(partial(_mark, key=journal.key), sources)
        new = _what_is_new(sources, marks, journal, track)
        outcomes = spread(partial(_store, folder=journal.out, key=journal.key), new)
        refused = [r for _ in track(new, "Taking cases in") if (r := _keep(next(outcomes), journal, names))]
    taken = len(journal.by_image) - before
    if not (journal.records or refused):
        raise CohortError("There is nothing to take in.")
    if refused and (settings.strict or not journal.records):
        journal.roll_back()
        write_report(journal.folder, None, refused=refused, notes=notes)
        raise CohortError(
            f"{len(refused)} of {len(sources)} cases are refused and none is taken in; the first is {refused[0]}"
        )
    try:
        cohort = _finish(journal, names, settings)
    except CohortError:
        journal.roll_back()  # or what is corrected next would be held against what was wrong
        raise
    known = len(sources) - taken - len(refused)
    notes = [*notes, *_notes(journal)]
    done = Taken(cohort=cohort, taken=taken, known=known, refused=refused, notes=notes)
    write_report(journal.folder, done)
    return done


def _what_is_new(sources: Sequence[Source], marks: Iterator[str], journal: Journal, track: Track) -> list[_Marked]:
    new: dict[str, _Marked] = {}
    for source in track(sources, "Looking for what is new"):
        marked = _Marked(mark=next(marks), source=source)
        if marked.mark not in journal.records:
            new.setdefault(marked.mark, marked)
    return list(new.values())


def _mark(source: Source, *, key: SiteKey) -> str:
    """Mark a source; one that cannot even be opened is new each time, and refused when it is read."""
    try:
        return key.mark(source.fingerprint())
    except (OSError, ValueError):  # a path may hold what no path may
        return key.mark(f"unreadable {source.place}".encode())


def _store(marked: _Marked, *, folder: Path, key: SiteKey) -> tuple[str, Stored | Refusal]:
    """Read and store one case, in a worker; whatever a file does to its reader refuses that file alone."""
    source = marked.source
    patient = key.pseudonym(source.patient)
    try:
        case = source.read().prepared()
    except CohortError as error:
        reason = str(error)
    except Exception as error:
        reason = f"It cannot be read ({type(error).__name__}); export it again."
    else:
        return source.place, store(folder, case, source=marked.mark, patient=patient)
    return source.place, Refusal(patient=patient if source.patient else "unknown", place=source.place, reason=reason)


def _keep(outcome: tuple[str, Stored | Refusal], journal: Journal, names: Sequence[str]) -> Refusal | None:
    place, record = outcome
    if isinstance(record, Refusal):
        return record
    try:
        admit(record, journal.by_image, names)
    except CohortError as error:
        return Refusal(patient=record.patient, place=place, reason=str(error))
    journal.keep(record)
    return None


def _finish(journal: Journal, names: Sequence[str], settings: IntakeSettings) -> Cohort:
    """Write the datalist anew: each image once, by file name, which tells nothing of the old order."""
    records = list(journal.records.values())
    labels, class_names = number_classes(records, names)
    groups, splits = deal_cases(
        records,
        labels,
        journal.homes(),
        validation=settings.validation,
        test=settings.test,
        seed=settings.seed,
    )
    cases: dict[Split, dict[str, Case]] = {split: {} for split in SPLITS}
    for record, label, group, split in sorted(zip(records, labels, groups, splits, strict=True), key=_image):
        cases[split].setdefault(record.image, journal.case(record, label, group))
    return Cohort.write(
        journal.out,
        name=journal.out.name,
        description=f"{len(journal.by_image)} images of {len(set(groups))} patients",
        modality=settings.modality,
        class_names=class_names,
        splits={split: list(listed.values()) for split, listed in cases.items()},
        pseudonyms=journal.key.name,
    )


def _image(item: tuple[Stored, int, str, Split]) -> str:
    return item[0].image


def _notes(journal: Journal) -> list[str]:
    notes = Counter(note for record in journal.records.values() for note in record.notes)
    found = [f"{count} cases: {note}" for note, count in notes.items()]
    patients: dict[str, set[str]] = {}
    for record in journal.records.values():
        patients.setdefault(record.image, set()).add(record.patient)
    shared = sum(len(names) > 1 for names in patients.values())
    return found + ([f"{shared} images came from more than one patient; such patients count as one."] if shared else [])


@contextmanager
def _spread(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Lend a ``map`` that works in this process, or in so many fresh ones."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield pool.map
        except BrokenExecutor:
            raise CohortError("A worker was ended from outside (out of memory?); lower --workers.") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CohortError(f"--out '{out}' cannot be written: {error.strerror or error}.") from error
