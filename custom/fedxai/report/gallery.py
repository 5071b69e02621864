# SPDX-License-Identifier: Apache-2.0
"""The gallery a site keeps for itself: cases with their maps, regions and predictions."""

import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from fedxai.errors import SettingsError
from fedxai.report.examined import Examined
from fedxai.report.files import disk
from fedxai.report.overlay import colour_steps, grey, outlined, overlay, plane, shown_slice, strip
from fedxai.report.page import render

_PROBABILITIES_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is remembered of a case: words and numbers, no pixels."""

    index: int
    picture: str
    label: int
    predicted: int
    probabilities: list[float]
    scores: dict[str, dict[str, float | None]]
    chance: float | None
    slice_: int | None

    @property
    def kind(self) -> tuple[int, bool]:
        """True class, and whether the prediction is right."""
        return self.label, self.label == self.predicted


class Gallery:
    """A page of at most ``limit`` cases, written to a folder that never leaves the site.

    Which cases: the first ones, until there are ``limit``; from then on a case of a rarer kind (true class,
    right or wrong) takes the place of the latest case of the commonest kind, so that classes and errors are
    spread evenly. Pictures are drawn as cases come; no map is held. The folder appears, or replaces the
    earlier one, only when the gallery is closed without an error.

    Raises:
        SettingsError: when ``limit`` is below 1.
        RunError: when the disk refuses; an earlier gallery is then kept.

    Example:
        >>> with Gallery(folder, site="site-1", class_names=["a", "b"], methods=["saliency"]) as gallery:
        ...     gallery.add(case)
    """

    def __init__(
        self, folder: Path, *, site: str, class_names: Sequence[str], methods: Sequence[str], limit: int = 24
    ) -> None:
        if limit < 1:
            raise SettingsError(f"gallery limit must be at least 1, got {limit}")
        self.folder, self.site, self.limit = folder, site, limit
        self.class_names, self.methods = list(class_names), list(methods)
        self._entries: list[Entry] = []
        self._seen = 0
        with disk(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            self.stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            shutil.rmtree(self.stage, ignore_errors=True)

    def add(self, case: Examined) -> None:
        """Draw the case if there is room for its kind."""
        self._seen += 1
        kind = (int(case.label), int(case.label) == int(case.predicted))
        if len(self._entries) < self.limit or self._make_room(kind):
            self._entries.append(self._draw(case))

    def close(self) -> Path:
        """Write the page and put the folder in its place.

        Returns:
            The path of ``index.html``.
        """
        try:
            with disk(self.folder):
                self._write_page()
                _replace(self.folder, self.stage)
        finally:
            shutil.rmtree(self.stage, ignore_errors=True)
        return self.folder / "index.html"

    def _make_room(self, kind: tuple[int, bool]) -> bool:
        counts = Counter(entry.kind for entry in self._entries)
        commonest, most = counts.most_common(1)[0]
        if counts[kind] + 1 >= most:
            return False
        place = max(i for i, entry in enumerate(self._entries) if entry.kind == commonest)
        (self.stage / self._entries.pop(place).picture).unlink()
        return True

    def _draw(self, case: Examined) -> Entry:
        image = np.asarray(case.image)
        whole = None if case.region is None else np.asarray(case.region)
        spatial, slice_ = image.shape[1:], shown_slice(image, whole)
        region = None if whole is None else plane(whole, spatial, slice_)
        background = grey(image, slice_)
        shown = [method for method in self.methods if method in case.maps]
        maps = [plane(np.asarray(case.maps[method]), spatial, slice_) for method in shown]
        tiles = [outlined(overlay(background, magnitude), region) for magnitude in maps]
        name = f"case-{case.index:05d}.png"
        with disk(self.folder):
            strip([outlined(background, region), *tiles]).save(self.stage / name)
        return Entry(
            index=int(case.index),
            picture=name,
            label=int(case.label),
            predicted=int(case.predicted),
            probabilities=[float(p) for p in case.probabilities],
            scores={method: _defined(case.scores.get(method, {})) for method in shown},
            chance=None if whole is None else float((whole > 0).mean()),
            slice_=slice_,
        )

    def _write_page(self) -> None:
        page = render(
            "gallery.html.j2",
            site=self.site,
            entries=sorted(self._entries, key=lambda entry: (entry.label, entry.kind[1], entry.index)),
            seen=self._seen,
            class_name=self._class_name,
            likeliest=_likeliest,
            colours=colour_steps(),
        )
        (self.stage / "index.html").write_bytes(page)

    def _class_name(self, index: int) -> str:
        return self.class_names[index] if 0 <= index < len(self.class_names) else f"class {index}"


def _defined(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: v if v is not None and math.isfinite(v) else None for name, v in scores.items()}


def _likeliest(entry: Entry) -> list[tuple[int, float]]:
    ranked = sorted(enumerate(entry.probabilities), key=lambda pair: -pair[1])
    return ranked[:_PROBABILITIES_SHOWN]


def _replace(folder: Path, stage: Path) -> None:
    """Two renames; the earlier folder is deleted only when the new one stands."""
    stage.chmod(0o755)
    old = stage.with_name(f"{stage.name}-old")
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(stage, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
