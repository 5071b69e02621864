# SPDX-License-Identifier: Apache-2.0
"""The nouns that travel: what a site answers, and what a run leaves on the server.

Everything here that crosses a hospital's wall holds counts and rounded scalars, each with its n: no arrays,
no case ids, no file names, no free text (DESIGN.md, contracts 5 and 6).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from fedxai.errors import CohortError
from fedxai.figures import Count, Digest, Figure, Name, Record, Scalar

SCHEMA_VERSION = "1.0"
MANUFACTURER = "FedXAI-Med"  # of the DICOM objects that this package makes
SPLITS = ("training", "validation", "test")
HEADLINE_METHOD = "gradient_x_input"  # Eq. 4
E_SCORE = "relevance_mass"  # Eq. 5 with |S|

Split = Literal["training", "validation", "test"]
Task = Literal["classification", "segmentation"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image of one patient, as the cohort's ``dataset.json`` lists it; paths are absolute."""

    image: Path
    label: int | Path  # its class, or the label map of a case of segmentation
    region: Path | None = None
    group: str = ""
    tabular: dict[str, float] = field(default_factory=dict)
    spacing: tuple[float, float] | None = None  # mm between rows and between columns of a picture, where it is known

    @property
    def task(self) -> Task:
        """What the label is for."""
        return "segmentation" if isinstance(self.label, Path) else "classification"

    @property
    def class_index(self) -> int:
        """The class.

        Raises:
            CohortError: the case has a label map instead.
        """
        if isinstance(self.label, Path):
            raise CohortError("The label of a case must be a class here, got a label map; use a classification cohort.")
        return self.label

    @property
    def files(self) -> list[Path]:
        """The image, the label map and the region, as far as the case has them."""
        paths = (self.image, self.label, self.region)
        return [path for path in paths if isinstance(path, Path)]


class Evaluation(Record):
    """How well a model diagnoses the cases of one split (or of many sites together)."""

    split: Split
    cases: Count
    patients: Count
    metrics: dict[Name, Figure]  # loss, macro_auc, accuracy ...; of a segmentation loss, mean_dice, mean_hd95 ...
    confusion: list[list[int | None]] = []  # [true class][predicted class]; None: a cell below the minimum size


class Evaluations(Record):
    """A site's answer to the ``validate`` task."""

    validation: Evaluation
    test: Evaluation


TrustTestName = Literal["randomisation", "faithfulness", "robustness", "localisation"]


class TrustTest(Record):
    """One test that an explanation can fail: ``value`` must reach ``threshold`` in the test's own direction.

    ``undecided``: too few cases for the interval to lie on one side of the threshold, or the test could not run; of all
    sites' localisation also where E is above both its levels and only each site's own worse one is above E.
    """

    name: TrustTestName
    outcome: Literal["passed", "failed", "undecided"]
    value: Figure
    threshold: Scalar

    @classmethod
    def decide(cls, name: TrustTestName, value: Figure, *, threshold: float) -> "TrustTest":
        """Decide by the whole interval: passed on the right side of the threshold, failed on the other or at it.

        The right side is below for randomisation (a map that looks the same without the learned weights is no
        explanation) and above for all others. Without an interval, or with the threshold inside it: undecided.
        """
        low, high = value.low, value.high
        if value.value is None or low is None or high is None:
            return cls(name=name, outcome="undecided", value=value, threshold=threshold)
        below = name == "randomisation"
        passed = high < threshold if below else low > threshold
        failed = low >= threshold if below else high <= threshold
        outcome = "passed" if passed else "failed" if failed else "undecided"
        return cls(name=name, outcome=outcome, value=value, threshold=threshold)


class MethodSummary(Record):
    """Where one saliency method looks, over the cases of one site.

    ``scores``, ``chance`` (what a map reaches that knows nothing) and ``centred`` (what a centred Gaussian reaches)
    share their keys: the names of the scores; relevance_mass is E with |S|, the default reading. ``trust`` is the
    verdict: a method is trusted when it passes every test, marked when it fails one, never hidden.
    """

    method: Name
    scored: Count  # cases with a region
    unscored: Count  # cases without one, or of a size that the method cannot explain: counted, not scored
    undefined: dict[Name, Count]  # per score: cases whose value does not exist (all-zero map, zero sum)
    scores: dict[Name, Figure]
    chance: dict[Name, Figure]
    centred: dict[Name, Figure] = {}
    trust: list[TrustTest] = []


class Honesty(Record):
    """The honesty battery: whether the model decides by what lies in the region (``fedxai.score.honesty``).

    ``figures``: occlusion_mass, occlusion_ceiling, drop_region, drop_elsewhere, drop_grey, swap_kept, blank_kept,
    and soft_mass of a gated network.
    """

    cases: Count
    figures: dict[Name, Figure]


# of the honesty battery: what "E is won by construction" rests on
CONSTRUCTION_FIGURES = ("occlusion_mass", "occlusion_ceiling", "drop_region", "drop_grey", "drop_elsewhere")

PLACE_KINDS = ("region", "ring", "corner", "border", "rest")  # corners and pieces of the border each add up


def place_kind(place: str) -> str:
    """``corner_0_4`` is a corner."""
    return place.partition("_")[0]


class PlaceSummary(Record):
    """Where in the image the relevance lies, over the cases of one class at one site.

    ``shares`` (of |relevance|) and ``chance`` (of the grid) share their keys: region, each corner, each piece of
    the border, ring, rest (``score/places.py``); region, ring and rest are over the cases with a region.
    """

    class_index: Count
    n: Count  # cases whose map has relevance
    patients: Count  # of these cases
    undefined: Count  # cases whose map is all zeros or not finite
    shares: dict[Name, Figure]
    chance: dict[Name, Figure]


class ShortcutAlarm(Record):
    """At one site a model looks, for one class, at a place where it does not look elsewhere."""

    site: Name
    class_index: Count
    place: Name
    share: Figure
    expected: Scalar  # what the other sites' figures for this class let one expect
    p_adjusted: Scalar  # Holm, over all tests made
    advice: str  # one sentence: the site, the class, and what to look at in that site's gallery


class ShortcutSearch(Record):
    """What the search for shortcuts across sites found, how many tests it made, and what it could not test."""

    alarms: list[ShortcutAlarm]
    tests: Count
    notes: list[str]


class SiteAgreement(Record):
    """How far the places where the model looks for one class at one site are those of the other sites together."""

    site: Name
    class_index: Count
    agreement: Figure  # in [0, 1], 1: the same profile (fedxai.combine.site_agreement)
    alike: Scalar  # below it a site differs from the others by more than the drawing of its cases explains
    chance: Scalar  # the agreement of maps that know nothing


class ClassSummary(Record):
    """Where a segmentation network looks for one class, whose region is where the label map holds it."""

    class_index: Count
    methods: list[MethodSummary]
    honesty: Honesty | None = None


class Explanation(Record):
    """A site's answer to the ``explain`` task."""

    split: Split
    cases: Count
    methods: list[MethodSummary]
    seconds: Scalar
    passes: Count  # forward + input-backward passes it took; a forward pass alone counts as one
    honesty: Honesty | None = None
    places: list[PlaceSummary] = []  # of gradient x input, one a class
    classes: list[ClassSummary] = []  # of a segmentation; methods is then over its classes together
    left_out: list[Name] = []  # methods that cannot explain this network; the site's own log says why
    agreement: Figure | None = None  # rank agreement with the maps of the model explained before, in [-1, 1]


class BundleIdentity(Record):
    """Which network this is."""

    name: Name
    version: str
    digest: Digest
    class_names: list[str]


class CaseCounts(Record):
    """How many cases a site holds in each split."""

    training: Count
    validation: Count
    test: Count


class Outgoing(Record):
    """What left a site, of one kind: how many messages, how many bytes, how many case records."""

    kind: Name  # update, evaluation, explanation, survey
    messages: Count
    bytes: Count
    case_records: Count = 0  # images, maps or rows of single cases: always 0 unless something is wrong


class Holding(Record):
    """What a site holds: the |D_total| of Eq. 6."""

    case_records: Count
    bytes: Count


class Survey(Record):
    """A site's answer to the ``survey`` task, before anything is trained."""

    cases: CaseCounts
    minimum_cell: Count  # a figure over fewer cases is held back, and the server refuses one that is not
    holding: Holding
    classes: Count
    bundle_digest: Digest


class SiteRound(Record):
    """One site in one round: what it reported about training."""

    name: Name
    training_loss: Scalar
    validation: dict[Name, Figure]  # of the global model the round began with
    steps: Count
    seconds: Scalar
    explanation: Explanation | None = None


class Absence(Record):
    """A site that gave nothing usable in a round, and the named reason."""

    name: Name
    reason: Annotated[str, StringConstraints(max_length=300)]


class RoundSummary(Record):
    """One federated round."""

    round: Count
    sites: list[SiteRound]
    missing: list[Absence] = []
    global_loss: Scalar = None  # Eq. 3: sum of n_k/n times the site's validation loss
    selection_metric: Scalar = None
    update_bytes: Count = 0
    seconds: Scalar = None


class SiteSummary(Record):
    """One site, as the report shows it: figures of the final model unless said otherwise."""

    name: Name
    cases: CaseCounts
    metrics: Evaluation | None
    explanation: Explanation | None
    outgoing: list[Outgoing] = []
    holding: Holding


class ModelSummary(Record):
    """One global model (last or best) over all sites, and site by site."""

    which: Literal["last", "best"]
    round: Count
    metrics: dict[Name, Figure]  # n-weighted over the sites
    confusion: list[list[int | None]]
    explanation: list[MethodSummary]  # n-weighted over the sites
    evaluations: dict[Name, Evaluation]
    explanations: dict[Name, Explanation]
    honesty: Honesty | None = None  # n-weighted over the sites
    classes: list[ClassSummary] = []  # of a segmentation, n-weighted over the sites
    shortcuts: ShortcutSearch | None = None  # None: no site said where the relevance lies
    site_agreement: list[SiteAgreement] = []  # empty: fewer than two sites said so
    by_construction: bool | None = None  # E of gradient x input is won by construction; None: cannot be said


class Choice(Record):
    """How the best model was chosen: by the metric among the models whose E has not fallen below the floor."""

    key_metric: Name
    e_floor: Scalar  # None: by the metric alone
    round: Count  # after so many rounds the chosen model stood
    metric: Scalar  # on the validation cases, n_k-weighted
    e: Scalar  # of gradient x input, over the scored validation cases; None: not explained up to that round
    round_by_metric: Count  # what the metric alone would have chosen
    metric_by_metric: Scalar
    e_by_metric: Scalar


class PrivacyScore(Record):
    """Eq. 6, ``P = 1 - |D_shared| / |D_total|``, counted, in case records and in bytes, with the bytes by kind."""

    case_records_shared: Count
    case_records_total: Count
    score: Scalar  # over case records
    bytes_shared: Count
    bytes_total: Count
    bytes_ratio: Scalar  # bytes that left / bytes held
    summary_bytes: Count  # of these, bytes of summaries
    update_bytes: Count  # of these, bytes of model updates


class Timing(Record):
    """Wall time of a run, in seconds."""

    total: Scalar
    training: Scalar
    explaining: Scalar


class RunSummary(Record):
    """``fedxai/summary.json``: everything a run leaves to read (contract 6)."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    job: Name
    created: str  # ISO 8601, UTC
    versions: dict[str, str]
    settings: dict[str, int | float | str | bool | None]
    bundle: BundleIdentity
    sites: list[SiteSummary]
    rounds: list[RoundSummary]
    final: list[ModelSummary]  # last, and best where there is one
    choice: Choice | None = None  # None: the run ended before a model was chosen
    bytes: list[Outgoing]  # over all sites
    privacy: PrivacyScore
    timing: Timing
    notes: list[str] = []  # plain words for the reader: who was missing, what was refused


SystemName = Literal["centralised", "local-only", "federated", "FedXAI-Med"]


class SystemResult(Record):
    """One system of the comparison, one seed, on the common test set."""

    system: SystemName
    seed: int
    site: Name | None = None  # local-only: whose model
    steps: Count
    metrics: dict[Name, Figure]
    explanation: list[MethodSummary]
    classes: list[ClassSummary] = []  # of a segmentation
    honesty: Honesty | None = None  # of FedXAI-Med, as its sites asked
    by_construction: bool | None = None
    privacy: PrivacyScore
    seconds: Scalar


class Comparison(Record):
    """``comparison.json``: the four systems with the same steps, seeds and test cases (Figures 2 and 3)."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    created: str
    bundle: BundleIdentity
    sites: dict[Name, CaseCounts]
    settings: dict[str, int | float | str | bool | None]
    results: list[SystemResult]
