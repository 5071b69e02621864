# SPDX-License-Identifier: Apache-2.0
"""The gallery a site keeps for itself: cases with their maps, regions and predictions."""

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from fedxai.errors import SettingsError
from fedxai.records import MethodSummary
from fedxai.report.case_pictures import image_picture, map_pictures
from fedxai.report.examined import Examined
from fedxai.report.files import disk
from fedxai.report.gallery_pages import Answer, Entry, gallery_pages
from fedxai.report.stage import staged
from fedxai.report.words import explained_cases


class Gallery:
    """Pages of at most ``limit`` cases, written to a folder that never leaves the site.

    ``index.html`` shows a method's map beside each image, to filter by class, error and score and to sort;
    ``methods.html`` shows all methods of a case side by side; ``reading.html`` says what E says.
    Which cases: the first ones, until there are ``limit``; from then on a case of a rarer kind (true class,
    right or wrong) takes the place of the latest case of the commonest kind, so that classes and errors are
    spread evenly. A class of a segmentation that is neither in the case nor found in it is left out. Pictures are
    drawn as cases come; no map is held. The folder appears, or replaces the earlier one, only when the gallery is
    closed without an error.

    Args:
        folder: replaced whole where it exists.
        site, class_names, methods: as the pages show them; methods in this order.
        images: of each case in order, the image's file in the cohort, to find the study again.
        by_class: whether a case comes once for each class, as of a segmentation.
        limit: cases shown.

    Attributes:
        stage: what is put into this folder appears with the pages.

    Raises:
        SettingsError: when ``limit`` is below 1.
        RunError: when the disk refuses; an earlier gallery is then kept.

    Example:
        >>> with Gallery(  # doctest: +SKIP
        ...     folder, site="site-1", class_names=["a", "b"], methods=["saliency"]
        ... ) as gallery:
        ...     gallery.add(case)
    """

    def __init__(
        self,
        folder: Path,
        *,
        site: str,
        class_names: Sequence[str],
        methods: Sequence[str],
        images: Sequence[str] = (),
        by_class: bool = False,
        limit: int = 24,
    ) -> None:
        if limit < 1:
            raise SettingsError(f"gallery limit must be at least 1, got {limit}")
        self.folder, self.site, self.limit = folder, site, limit
        self.class_names, self.methods, self.images = list(class_names), list(methods), list(images)
        self._by_class = by_class
        self._entries: list[Entry] = []
        self._summaries: list[MethodSummary] = []
        self._explained = ""
        self._seen = 0
        self._staging = ExitStack()
        self.stage = self._staging.enter_context(staged(folder))

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._staging.callback(self._write_pages)
        self._staging.__exit__(kind, error, trace)

    def add(self, case: Examined) -> None:
        """Draw the case if it has something to show and there is room for its kind."""
        self._seen += 1
        if not case.present and not any(np.any(relevance) for relevance in case.maps.values()):
            return
        image = self.images[case.index] if case.index < len(self.images) else ""
        entry = Entry.of(case, self.methods, image)
        if len(self._entries) < self.limit or self._make_room(entry.kind):
            self._draw(case, entry)
            self._entries.append(entry)

    def conclude(self, methods: Sequence[MethodSummary], *, explained: str = "") -> None:
        """Show each method's mean E and trust verdict beside its maps; both are known after the last case.

        Args:
            methods: over all cases.
            explained: what the maps explain, in words.
        """
        self._summaries, self._explained = list(methods), explained

    def _write_pages(self) -> None:
        pages = gallery_pages(
            self._entries,
            site=self.site,
            seen=explained_cases(self._seen, by_class=self._by_class) if self._seen else "",
            class_names=self.class_names,
            methods=self.methods,
            summaries=self._summaries,
            explained=self._explained,
        )
        with disk(self.folder):
            for name, page in pages.items():
                (self.stage / name).write_bytes(page)

    def _make_room(self, kind: tuple[int, Answer]) -> bool:
        counts = Counter(entry.kind for entry in self._entries)
        commonest, most = counts.most_common(1)[0]
        if counts[kind] + 1 >= most:
            return False
        place = max(i for i, entry in enumerate(self._entries) if entry.kind == commonest)
        shutil.rmtree(self.stage / self._entries.pop(place).folder)
        return True

    def _draw(self, case: Examined, entry: Entry) -> None:
        with disk(self.folder):
            folder = self.stage / entry.folder
            folder.mkdir(parents=True)
            image_picture(case).save(folder / "image.png")
            for method, picture in map_pictures(case, entry.scores).items():
                picture.save(folder / f"{method}.png")
