# SPDX-License-Identifier: Apache-2.0
# FLARE's attributes are typed as None until the job starts.
# pyright: reportOptionalMemberAccess=false
"""What the server takes: bundles on its own list, and of a site's answers what the site's gate would let out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from nvflare.apis.dxo import MetaKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.private.fed.simulator.simulator_const import SimulatorConstants
from pydantic import BaseModel

from fedxai.bundle import Bundle
from fedxai.bundle.approval import admit
from fedxai.errors import ReleaseError, UpdateError
from fedxai.flare.facts import vocabulary
from fedxai.flare.judgement import KINDS, META
from fedxai.flare.messages import SITE_ROUND, read_dxo
from fedxai.privacy.schema import Facts, recognised
from fedxai.privacy.tensors import check_norm
from fedxai.records import CaseCounts, Record, SiteRound, Survey
from fedxai.records_statistics import SiteStatistics
from fedxai.settings import Positive, SiteSettings

TRAIN = "train"


def server_settings(fl_ctx: FLContext) -> tuple[SiteSettings, Path]:
    """The settings in the server's own ``local/fedxai.json``, and that folder.

    Raises:
        SettingsError: when the file breaks a rule.
    """
    local = Path(fl_ctx.get_engine().get_workspace().get_site_config_dir())
    return SiteSettings.read(local), local


def server_bundle(name: str, fl_ctx: FLContext) -> Bundle:
    """The bundle of that name, if the server's operator approved it: its network is built on the server too.

    Raises:
        BundleError: when it is missing or not on the server's list.
    """
    bundle = Bundle.open(name)
    settings, local = server_settings(fl_ctx)
    simulated = fl_ctx.get_job_id() == SimulatorConstants.JOB_NAME
    admit(bundle, local / settings.approved_bundles, simulated=simulated)
    return bundle


class Admission:
    """Judges the answers of one job's sites, as each site's own gate did, for a site may have taken its gate off.

    Args:
        bundle: whose words and classes hold.
        settings: of the server; its ``policy`` bounds what is taken.
    """

    def __init__(self, bundle: Bundle, settings: SiteSettings) -> None:
        self._bundle = bundle
        self._policy = settings.policy
        self._told: dict[str, _Told] = {}

    def check(self, message: Shareable, task: str, *, site: str, weights: Mapping[str, NDArray] | None) -> None:
        """Let an answer pass that holds what such an answer holds; whether tensors fit is the aggregator's to say.

        Args:
            message: the answer.
            task: what was asked.
            site: who answers.
            weights: the global weights that an update began with.

        Raises:
            ReleaseError: names the rule, never a value.
        """
        if message.keys() - {ReservedHeaderKey.HEADERS, "DXO"}:
            raise ReleaseError("content", "an answer may hold nothing but its data exchange object")
        try:
            dxo = read_dxo(message)
        except UpdateError:
            return  # whoever reads it says so
        if task == TRAIN:
            self._update(dxo.data, dxo.meta, site, weights)
        elif dxo.data_kind != "METRICS" or dxo.meta:
            raise ReleaseError("content", "a summary must be METRICS without meta")
        else:
            self._summary(dxo.data, KINDS[task], site)

    def _update(self, data: object, meta: object, site: str, weights: Mapping[str, NDArray] | None) -> None:
        if not isinstance(meta, dict) or set(meta) != META:
            raise ReleaseError("content", "the meta of an update must be its cases and the figures of its round")
        self._summary(meta[SITE_ROUND], SiteRound, site)
        told = self._told.get(site)
        if told is not None and meta[MetaKey.NUM_STEPS_CURRENT_ROUND] != told.cases.training:
            raise ReleaseError("counts", "an update must weigh as many cases as its site's survey told")
        if weights and isinstance(data, dict) and all(isinstance(tensor, np.ndarray) for tensor in data.values()):
            check_norm(data, weights, self._policy.update_norm)

    def _summary(self, values: object, kind: type[Record], site: str) -> None:
        telling = isinstance(values, dict) and kind in (Survey, SiteStatistics)
        told = _told(values) if telling else self._told.get(site)
        if told is None:
            raise ReleaseError("counts", "a site must tell its cases before anything else")
        digest = values.get("bundle_digest") if isinstance(values, dict) and kind is Survey else None
        facts = Facts(
            site=site,
            classes=len(self._bundle.class_names),
            cases=told.cases,
            digest=digest or self._bundle.digest,  # another version has a sentence of its own, from the workflow
            minimum_cell=told.minimum_cell,
        )
        recognised(values, kind, words=vocabulary(self._bundle), facts=facts, policy=self._policy)
        self._told.setdefault(site, told)


class _Told(BaseModel):
    """What a site says of itself first, and its later answers are held to."""

    cases: CaseCounts
    minimum_cell: Positive


def _told(values: object) -> _Told:
    try:
        return _Told.model_validate(values)
    except ValueError:
        raise ReleaseError("schema", "a survey must tell its cases split by split, and its smallest cell") from None
