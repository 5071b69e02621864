# SPDX-License-Identifier: Apache-2.0
"""What the gate holds a site's messages against: the words of the registries, and the site's own counts and tensors."""

from functools import cache

from fedxai.bundle import Bundle
from fedxai.explain import METHODS
from fedxai.flare.site import Site
from fedxai.privacy.schema import Facts, Vocabulary
from fedxai.score import MODEL_SCORES, SCORES
from fedxai.score.places import place_names
from fedxai.train.evaluation import METRICS
from fedxai.train.segmentation import figure_names

HONESTY = (
    "occlusion_mass",
    "occlusion_ceiling",
    "drop_region",
    "drop_elsewhere",
    "drop_grey",
    "swap_kept",
    "blank_kept",
    "soft_mass",
)


@cache
def vocabulary(bundle: Bundle) -> Vocabulary:
    """The only words that summaries about ``bundle`` may hold."""
    segmentation = [name for kind in ("dice", "hd95") for name in figure_names(kind, bundle.class_names)]
    return Vocabulary(
        metrics=frozenset((*METRICS, "mean_dice", "mean_hd95", *segmentation)),
        methods=METHODS.names,
        scores=frozenset((*SCORES, *MODEL_SCORES)),
        places=frozenset(place for dims in (2, 3) for place in place_names(dims)),
        honesty=frozenset(HONESTY),
    )


def facts(site: Site) -> Facts:
    """What the site knows of itself."""
    return Facts(
        site=site.name,
        classes=len(site.bundle.class_names),
        cases=site.cohort.counts(),
        digest=site.bundle.digest,
        minimum_cell=site.settings.minimum_cell,
        patients=site.patients,
    )
