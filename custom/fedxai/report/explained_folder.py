# SPDX-License-Identifier: Apache-2.0
"""The folder of a site's own explanation: gallery, figures, a line a case and method, and the maps on request."""

from types import TracebackType

from fedxai.records import Explanation
from fedxai.report.examined import Examined
from fedxai.report.files import disk, strict_json
from fedxai.report.gallery import Gallery
from fedxai.report.map_files import write_maps
from fedxai.report.tables import Cell, Column, Table

_ABOUT_THE_CASE = (
    Column(key="case", heading="Case", kind="count"),
    Column(key="image", heading="Image"),
    Column(key="label", heading="True class"),
    Column(key="predicted", heading="Predicted class"),
    Column(key="explained", heading="Explained class"),
    Column(key="probability", heading="Probability of the predicted class", kind="number"),
    Column(key="has_region", heading="Has a region", kind="count"),
    Column(key="method", heading="Method"),
)


class FolderExplanation(Explanation):
    """What ``explanation.json`` holds: the site's answer, and in words what was explained."""

    explained: str


class ExplainedFolder:
    """Collects explained cases one at a time; the folder appears whole when it is closed without an error.

    In it: ``index.html`` and its pictures, ``explanation.json`` (the figures), ``scores.csv`` (a line a case and
    method), ``NEVER_LEAVES_THE_SITE.txt``, and with ``save_maps`` a folder ``maps/case-00000`` a case. Memory holds
    numbers of the cases, never their arrays.

    Args:
        gallery: the pages, whose folder it is; its ``images`` are of all cases, in order.
        save_maps: whether every map is written.

    Raises:
        RunError: when the disk refuses; nothing is left behind.
    """

    def __init__(self, gallery: Gallery, *, save_maps: bool = False) -> None:
        self._gallery, self._save_maps = gallery, save_maps
        self._rows: list[dict[str, Cell]] = []

    def __enter__(self) -> "ExplainedFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gallery.__exit__(kind, error, trace)

    def add(self, case: Examined) -> None:
        """Show the case where there is room, note its scores, write its maps where that is asked."""
        self._gallery.add(case)
        self._rows += self._lines(case)
        if self._save_maps:
            with disk(self._gallery.folder):
                write_maps(case, self._gallery.stage / "maps" / f"case-{case.index:05d}")

    def conclude(self, explanation: Explanation, *, explained: str) -> None:
        """Write the figures, what they are of, and the lines of all cases, once the last case was added."""
        told = FolderExplanation(**dict(explanation), explained=explained)
        with disk(self._gallery.folder):
            self._gallery.conclude(explanation.methods, explained=explained)
            (self._gallery.stage / "explanation.json").write_bytes(strict_json(told))
            (self._gallery.stage / "scores.csv").write_bytes(self._table().csv())

    def _lines(self, case: Examined) -> list[dict[str, Cell]]:
        names = self._gallery.class_names
        about: dict[str, Cell] = {
            "case": case.index,
            "image": self._gallery.images[case.index],
            "label": names[case.label],
            "predicted": names[case.predicted],
            "explained": names[case.target],
            "probability": case.probabilities[case.predicted],
            "has_region": int(case.region is not None),
        }
        return [{**about, "method": method, **case.scores.get(method, {})} for method in case.maps]

    def _table(self) -> Table:
        known = {column.key for column in _ABOUT_THE_CASE}
        scores = list(dict.fromkeys(key for row in self._rows for key in row if key not in known))
        columns = [*_ABOUT_THE_CASE, *(Column(key=name, heading=name, kind="number") for name in scores)]
        rows = [{**dict.fromkeys(scores), **row} for row in self._rows]
        return Table(name="scores", title="Scores by case and method", columns=columns, rows=rows)
