# SPDX-License-Identifier: Apache-2.0
import pytest

from fedxai.bundle import Bundle
from fedxai.errors import SettingsError
from fedxai.train.evaluation import METRICS
from fedxai.train.key_metric import check_key_metric, key_metrics

CLASSIFIES, SEGMENTS = "brain_mri_tumor_classification", "hippocampus_mri_segmentation"


def test_the_usual_one_comes_first_and_all_are_measured():
    assert key_metrics(Bundle.open(CLASSIFIES))[0] == "macro_auc"
    assert set(key_metrics(Bundle.open(CLASSIFIES))) == set(METRICS) - {"loss", "ece"}
    assert key_metrics(Bundle.open(SEGMENTS)) == ["mean_dice", "dice_anterior", "dice_posterior"]


@pytest.mark.parametrize(
    ("bundle", "name"), [(CLASSIFIES, "loss"), (CLASSIFIES, "tea"), (SEGMENTS, "mean_hd95"), (SEGMENTS, "macro_auc")]
)
def test_what_is_better_when_lower_or_unknown_is_refused_with_the_choices(bundle, name):
    with pytest.raises(
        SettingsError, match=f"key_metric must be one of m.*, which are better when higher, got '{name}'"
    ):
        check_key_metric(name, Bundle.open(bundle))
