# SPDX-License-Identifier: Apache-2.0
"""The trust verdict: four tests that a method's maps can fail, on this network and these cases."""

from collections.abc import Sequence
from typing import Literal

from fedxai.combine.summaries import GAINS, worse_of
from fedxai.records import E_SCORE, Figure, TrustTest
from fedxai.score.tally import Tally

RANDOMISATION = 0.5
ROBUSTNESS = 0.5
GAIN = 0.0


def verdict(tally: Tally, *, seed: int = 0) -> list[TrustTest]:
    """Decide each test by the whole 95 % patient-level interval of its figure.

    - randomisation, below .5: rank agreement with the map of the network whose weights are drawn anew. On the
      phantom and on wide ReLU networks gradients measured .00 to .17, guided backpropagation .66 to .85 where the
      network is wide, an edge detector 1; unrelated maps have 0 and the same map has 1.
    - robustness, above .5: the lowest rank agreement with the maps of three images with noise that nobody sees.
      Measured .91 to .99; a map closer to unrelated than to itself is noise.
    - faithfulness, above 0: gap of insertion and deletion over the gap of a random map as smooth, and over that of
      the mirrored map; the worse of the two outcomes counts, so a map must beat both.
    - localisation, above 0: relevance mass over that of a centred Gaussian on the same regions, and over their area
      fraction, which a map of one value reaches; the worse of the two outcomes counts. All scored cases.

    Each figure is a mean over cases, paired within a case where two maps are compared; undefined cases are left out.
    A test of fewer than five patients is undecided, for it has no interval: chance would decide often enough, and of
    four that are drawn from nothing all lie on one side in 1 of 16.

    Args:
        tally: values of the model scores and of relevance_mass.
        seed: of the bootstrap.
    """
    above = [tally.above(level, E_SCORE, seed=seed) for level in ("centred", "chance")]
    return [
        TrustTest.decide("randomisation", tally.figure("randomisation", seed=seed), threshold=RANDOMISATION),
        _both("faithfulness", [tally.figure(name, seed=seed) for name in GAINS]),
        TrustTest.decide("robustness", tally.figure("noise_agreement", seed=seed), threshold=ROBUSTNESS),
        _both("localisation", above),
    ]


def _both(name: Literal["faithfulness", "localisation"], gains: Sequence[Figure]) -> TrustTest:
    """The worse of the tests whether each gain is above 0."""
    return worse_of([TrustTest.decide(name, gain, threshold=GAIN) for gain in gains])
