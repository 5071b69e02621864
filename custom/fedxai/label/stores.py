# SPDX-License-Identifier: Apache-2.0
"""The datastores of MONAI Label with readers in mind: what one saves is kept beside what others saved."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException

from fedxai.intake.volume import Volume
from fedxai.label.archive_store import ArchiveDatastore, names_of
from fedxai.label.bands import is_band
from fedxai.label.feedback import UNKNOWN, Drawn, Feedback, Said
from fedxai.label.grids import read_drawing, read_image


class _Keeping(Datastore):
    """Keeps every ``final`` label map as its reader's opinion; without bands, and refused before anything is saved."""

    feedback: Feedback
    checked: Callable[[Said], Said]

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """See MONAI Label.

        Raises:
            CohortError: what was drawn or said breaks a rule.
        """
        if label_tag != DefaultLabelTag.FINAL:
            return super().save_label(image_id, label_filename, label_tag, label_info)  # pyright: ignore
        info = dict(label_info or {})
        path = self.get_image_uri(image_id)
        if not path:
            raise ImageNotFoundException("The datastore has no such image.")
        said = self.checked(Said.of(info))
        segments = names_of(info["label_info"]) if info.get("label_info") else None
        image = read_image(Path(path))
        drawn = Drawn.of(read_drawing(Path(label_filename), image), image.affine, segments)
        with TemporaryDirectory(prefix="fedxai-") as private:
            file = label_filename
            if any(map(is_band, (segments or {}).values())):
                info["label_info"] = [item for item in info["label_info"] if not is_band(str(item["name"]))]
                file = str(Path(private) / "label.nii.gz")
                Volume(voxels=drawn.labels, affine=drawn.affine).write(Path(file))
            saved = super().save_label(image_id, file, label_tag, info)  # pyright: ignore
        self.feedback.add(image_id, str(info.get("user") or info.get("annotator") or UNKNOWN), said, drawn)
        return saved


class ReadersFolder(_Keeping, LocalDatastore):
    """A folder of images; opinions lie in its ``feedback/``."""


class ReadersArchive(_Keeping, ArchiveDatastore):
    """DICOM series, of an archive or a folder; opinions lie beside the volumes that were brought here."""
