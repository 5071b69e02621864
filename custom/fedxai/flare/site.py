# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes and headers are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false
"""A site as the executors see it: its cohort, its bundle, its trainer, and its own folder, which never leaves."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey

from fedxai.bundle import Bundle
from fedxai.bundle.approval import admit
from fedxai.errors import CohortError, RunError
from fedxai.flare.home import LEDGER, MODEL, home, run_folder, study_folder
from fedxai.flare.preflight import fitting_classes
from fedxai.intake.cohort import Cohort, site_cohorts
from fedxai.intake.phantom import make_phantom
from fedxai.intake.phantom_3d import make_phantom_3d
from fedxai.intake.statistics import cohort_statistics
from fedxai.privacy.ledger import Ledger
from fedxai.privacy.release import Patients
from fedxai.records import SPLITS, Split, Survey
from fedxai.records_statistics import SiteStatistics
from fedxai.settings import SITE_FILE, ExplainSettings, SiteSettings, TrainSettings, checked, cohorts_root
from fedxai.train.engine import SiteTrainer
from fedxai.train.optimizer_state import OptimizerState
from fedxai.train.round_files import RoundFiles


class Site(FLComponent):
    """Holds what a site's executors share.

    Args:
        bundle: name of the MONAI bundle, found at the site.
        train: settings of local training (`fedxai.settings.TrainSettings`).
        explain: settings of explanation (`fedxai.settings.ExplainSettings`).
        cohorts: simulator only: folder with one cohort per site; ``FEDXAI_COHORTS`` goes before it.
        study: name under which the optimiser's state outlives a job; default: the job's.
    """

    def __init__(
        self,
        bundle: str,
        train: dict[str, Any] | None = None,
        explain: dict[str, Any] | None = None,
        cohorts: str | None = None,
        study: str | None = None,
    ) -> None:
        super().__init__()
        self._bundle_name = bundle
        self._train = train or {}
        self._explain = explain or {}
        self._cohorts = cohorts
        self._study = study
        self._context: dict[str, Any] = {}

    def enter(self, fl_ctx: FLContext) -> "Site":
        """Learn from FLARE who and where this site is; called at the start of every task.

        Raises:
            RunError: when FLARE's simulator gave this site another one's name.
        """
        if not self._context:
            workspace = fl_ctx.get_engine().get_workspace()
            simulated, name = bool(fl_ctx.get_prop(FLContextKey.SIMULATE_MODE, False)), fl_ctx.get_identity_name()
            own = Path(workspace.get_root_dir()).name
            if simulated and own != name:  # FLARE 2.9 with several threads, see fedxai.flare.simulator
                raise RunError(f"FLARE's simulator gave {own} the name of {name}; start it again, or with -t 1")
            meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
            self._context = {
                "name": name,
                "folder": run_folder(fl_ctx),
                "home": home(fl_ctx),
                "study": study_folder(fl_ctx, self._study),
                "local": Path(workspace.get_site_config_dir()),
                "sites": max(1, len(meta.get(JobMetaKey.JOB_CLIENTS) or [])),
                "simulated": simulated,
            }
        return self

    @property
    def name(self) -> str:
        """The site's name in the federation."""
        return self._context["name"]

    @property
    def folder(self) -> Path:
        """The site's own folder of this run, with the gallery."""
        return self._context["folder"]

    @cached_property
    def settings(self) -> SiteSettings:
        """What the hospital set in its ``local/fedxai.json``."""
        return SiteSettings.read(self._context["local"])

    @cached_property
    def explain(self) -> ExplainSettings:
        """How this site explains."""
        return checked(ExplainSettings, self._explain, what="explain")

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle that is trained, if this site approved it.

        Raises:
            BundleError: when the bundle is not on the site's list, or holds what the allow list does not.
        """
        bundle = Bundle.open(self._bundle_name)
        listed = self._context["local"] / self.settings.approved_bundles
        admit(bundle, listed, simulated=self._context["simulated"])
        return bundle

    @cached_property
    def ledger(self) -> Ledger:
        """The record of what left this site, in all jobs."""
        return Ledger(self._context["home"] / LEDGER)

    @cached_property
    def cohort(self) -> Cohort:
        """The site's cohort: its own setting; in the simulator else of the cohorts folder, else the phantom.

        Raises:
            CohortError: when the cohorts folder has none for this site, or a real site has set none.
        """
        if self.settings.cohort:
            return Cohort.open(self.settings.cohort)
        if not self._context["simulated"]:
            raise CohortError(f"{self.name} has no cohort; name its folder as 'cohort' in local/{SITE_FILE}")
        root = cohorts_root(self._cohorts)
        if root is None:
            return self._phantom()
        cohorts = site_cohorts(root)
        if self.name not in cohorts:
            raise CohortError(f"no cohort for {self.name}; the cohorts folder has {', '.join(sorted(cohorts))}")
        return Cohort.open(cohorts[self.name])

    @cached_property
    def patients(self) -> dict[Split, Patients]:
        """How many patients the cases of each split are of."""
        return {split: Patients.of(self.cohort.cases(split), len(self.cohort.class_names)) for split in SPLITS}

    @cached_property
    def trainer(self) -> SiteTrainer:
        """The engine that trains and evaluates the bundle on the cohort."""
        settings = checked(TrainSettings, self._train, what="train")
        if settings.threads is None and self._context["simulated"]:
            share = max(1, (os.cpu_count() or 1) // self._context["sites"])
            settings = settings.model_copy(update={"threads": share})
        return SiteTrainer(
            bundle=self.bundle,
            cases=self.cohort.splits(),
            site=self.name,
            settings=settings,
            device=self.settings.device,
            state_file=self._optimizer_file,
        )

    @property
    def _optimizer_file(self) -> Path:
        return self._context["study"] / "optimizer.pt"

    @property
    def explained_before(self) -> RoundFiles:
        """The weights of the models that were explained in this run's rounds."""
        return RoundFiles(self.folder / "explained_before.npz")

    def begin_anew(self) -> None:
        """The run begins with its first round: what an earlier one's optimiser learned or explained is forgotten."""
        OptimizerState(self._optimizer_file, torch.device("cpu")).forget()
        self.explained_before.forget()

    def keep_model(self) -> Path:
        """Keep what the network has learned as a bundle in the site's ``fedxai/model``, where its desk looks for it.

        Raises:
            OSError: the disk refuses; an earlier model stays.
        """
        return self.bundle.export(self._context["home"] / MODEL, self.trainer.weights())

    def survey(self) -> Survey:
        """Counts of the cohort and the bundle's digest, checked against each other and the settings.

        Raises:
            CohortError: when a file of the cohort would stop the run.
            BundleError: when cohort and bundle differ in their number of classes, or the bundle lacks what guidance
                asks for.
            SettingsError: when a setting of training or explanation breaks its rule.
        """
        _ = self.explain  # asked for now, as the trainer below, so that what cannot be done is said before training
        classes = fitting_classes(self.cohort, self.bundle, site=self.name)
        _ = self.trainer
        return Survey(
            cases=self.cohort.counts(),
            minimum_cell=self.settings.minimum_cell,
            holding=self.cohort.holding(),
            classes=classes,
            bundle_digest=self.bundle.digest,
        )

    def statistics(self) -> SiteStatistics:
        """What the training cases are like, with nothing held back yet.

        Raises:
            CohortError: when a file of the cohort would stop a run.
            BundleError: when cohort and bundle differ in their number of classes.
        """
        fitting_classes(self.cohort, self.bundle, site=self.name)
        return cohort_statistics(self.cohort, group=self.settings.minimum_cell)

    def _phantom(self) -> Cohort:
        folder = self.folder / "phantom"
        if not (folder / "dataset.json").is_file():
            self.logger.warning(f"{self.name}: no cohort is configured, so the embedded phantom cohort is used")
            self._draw_phantom(folder)
        return Cohort.open(folder)

    def _draw_phantom(self, folder: Path) -> None:
        """The phantom whose dimension and task are the bundle's, as its metadata says."""
        dimensions = len(self.bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])
        place: Any = {"site": self.name, "index": _index(self.name)}
        if dimensions == 3:
            make_phantom_3d(folder, **place, task=self.bundle.task)
        elif self.bundle.task == "segmentation":
            raise CohortError(f"no phantom fits bundle {self.bundle.name}, a 2D segmentation; name a cohort")
        else:
            make_phantom(folder, **place)


def _index(name: str) -> int:
    """The number at the end of a site's name, from 0; a name without one gets 0."""
    digits = name[len(name.rstrip("0123456789")) :]
    return max(0, int(digits) - 1) if digits else 0
