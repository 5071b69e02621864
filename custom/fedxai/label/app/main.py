# SPDX-License-Identifier: Apache-2.0
"""The MONAI Label app: the federated model's prediction and saliency, and what readers say back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedxai.label import shims

shims.apply()
# MONAI Label can be imported only now.
from monailabel.config import settings  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402

from fedxai.errors import SettingsError  # noqa: E402
from fedxai.intake.cohort import DATALIST  # noqa: E402
from fedxai.label import infer, names  # noqa: E402
from fedxai.label.archive import open_archive, reads_series  # noqa: E402
from fedxai.label.desk import Desk  # noqa: E402
from fedxai.label.feedback import FOLDER, Drawn, Feedback  # noqa: E402
from fedxai.label.grids import IMAGES  # noqa: E402
from fedxai.label.model_watch import ModelWatch  # noqa: E402
from fedxai.label.scoring import scoring_methods  # noqa: E402
from fedxai.label.stores import ReadersArchive, ReadersFolder  # noqa: E402
from fedxai.label.strategies import strategies  # noqa: E402
from fedxai.label.train_task import trainers  # noqa: E402


class FedxaiLabelApp(MONAILabelApp):
    """Serves one model for one site's studies.

    Args:
        app_dir: folder of the app, where MONAI Label writes its logs.
        studies: folder of images or of DICOM series, or URL of a DICOMweb archive.
        conf: ``model`` (run or bundle), ``which`` (``best``, ``last``), ``site`` (the site's ``local/`` folder, with
            its list of approved bundles), ``device``, ``cohort`` (the cohort that the images are of, for training),
            ``allow_burned_in`` (``true``: also DICOM pictures that may have text burnt in).

    Raises:
        FedxaiError: the model cannot be served, or a setting is missing.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, Any] | None = None) -> None:
        given = {name: str(value) for name, value in (conf or {}).items() if value}
        if "model" not in given:
            raise SettingsError("the app needs --conf model PATH: the folder of a run, or a bundle with weights")
        self.watch = ModelWatch(
            given["model"],
            which=given.get("which", "best"),
            site=Path(given["site"]) if "site" in given else None,
            device=given.get("device", "auto"),
        )
        bundle = self.watch.current().bundle
        self.feedback = Feedback(_feedback_folder(studies), model=lambda: self.watch.current().digest)
        self.desk = Desk(
            watch=self.watch,
            feedback=self.feedback,
            images=lambda: self.datastore().list_images(),
            path_of=lambda image: self.datastore().get_image_uri(image),
            elsewhere=self._drawn_elsewhere,
        )
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=given,
            name=f"FedXAI-Med: {bundle.metadata.get('name', bundle.name)}",
            description="The federated model's prediction, where it looked, and what readers say back",
            version=bundle.version,
        )
        self._auto_update_scoring = False  # else every question for the next sample starts a process that scores all

    def init_datastore(self) -> Any:
        """See MONAI Label: the images, with readers kept apart."""
        if reads_series(self.studies):
            archive = open_archive(self.studies, allow_burned_in=self.conf.get("allow_burned_in") == "true")
            store: Any = ReadersArchive(archive, _cache(), dimension=self.watch.current().dimension)
        else:
            store = ReadersFolder(
                self.studies,
                extensions=[f"*{ending}" for ending in IMAGES],
                auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
                read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            )
        store.feedback, store.checked = self.feedback, self.desk.checked
        return store

    def init_infers(self) -> Any:
        """See MONAI Label: prediction, saliency, heat map."""
        return infer.tasks(self.desk)

    def looking(self) -> dict[str, infer.Looking]:
        """The tasks of the list that answer with saliency, by name."""
        return {name: task for name, task in self._infers.items() if isinstance(task, infer.Looking)}

    def init_strategies(self) -> Any:
        """See MONAI Label: which image next."""
        return strategies(self.desk)

    def init_scoring_methods(self) -> Any:
        """See MONAI Label: how well saliency meets what readers drew."""
        return scoring_methods(self.desk)

    def init_trainers(self) -> Any:
        """See MONAI Label: fine-tuning where the cohort is known, and asking for the next round."""
        return trainers(self.desk, Path(self.app_dir) / "model", _cohort(self.conf, self.studies))

    def infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """See MONAI Label; tasks also learn which image it is, because it replaces its id by a path."""
        image = request.get("image")
        there = isinstance(image, str) and names.holds(self.datastore(), image)
        return super().infer({**request, "image_id": image if there else None}, datastore)

    def info(self) -> dict[str, Any]:
        """See MONAI Label; with the model that is served now."""
        return {**super().info(), "model": self.watch.current().identity}

    def _drawn_elsewhere(self, image: str, class_names: Sequence[str]) -> Mapping[str, Drawn]:
        store = self.datastore()
        return store.drawn_elsewhere(image, class_names) if isinstance(store, ReadersArchive) else {}


def _cache() -> Path:
    return Path(settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or Path.home() / ".cache" / "fedxai" / "archive")


def _feedback_folder(studies: str) -> Path:
    return (_cache() if reads_series(studies) else Path(studies)) / FOLDER


def _cohort(conf: Mapping[str, str], studies: str) -> Path | None:
    """The cohort that the images are of: named, or the one in whose folder they lie."""
    if "cohort" in conf:
        return Path(conf["cohort"])
    around = Path(studies), Path(studies).parent
    return next((folder for folder in around if (folder / DATALIST).is_file()), None)
