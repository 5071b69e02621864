# SPDX-License-Identifier: Apache-2.0
"""The app answers predictions and saliency for every kind of bundle, as MONAI Label asks it."""

import os
import shutil
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from fedxai.errors import BundleError, ExplanationError, SettingsError
from fedxai.explain import METHODS
from fedxai.label.bands import NAMES
from fedxai.label.model_watch import ModelWatch

COSTLY = ("kernel_shap", "occlusion", "expected_gradients", "integrated_gradients", "smooth_grad")
BUNDLES = {
    "brain_mri_tumor_classification": "pictures",
    "brain_mri_lesion_classification": "classification",
    "hippocampus_mri_segmentation": "segmentation",
}


@pytest.fixture(scope="module", params=BUNDLES)
def room(request, untrained, cohort_2d, cohort_3d, tmp_path_factory, reading_app):
    kind = BUNDLES[request.param]
    cases = (cohort_2d if kind == "pictures" else cohort_3d[kind]).cases("test")[:2]
    folder = tmp_path_factory.mktemp("room")
    model = folder / "model" / request.param
    shutil.copytree(untrained(request.param), model)
    app = reading_app(folder, model=model, images=[case.image for case in cases])

    def infer(name, case, params):
        answer = app.infer({**params, "model": name, "image": case.image.name.split(".")[0]})
        return answer["file"], answer["params"]

    return SimpleNamespace(app=app, infer=infer, cases=cases, kind=kind, model=model)


def test_one_network_is_served_three_ways(room):
    listed = room.app.info()["models"]
    assert set(listed) == {"prediction", "saliency", "heat_map"}
    assert listed["saliency"]["type"] == "segmentation"
    assert listed["saliency"]["labels"] == {name: value for value, name in enumerate(NAMES, start=1)}
    assert listed["prediction"]["type"] == ("segmentation" if room.kind == "segmentation" else "classification")
    assert set(listed["heat_map"]["config"]["saliency_method"]) == set(METHODS)
    assert room.app.info()["model"]["weights"] == ModelWatch(str(room.model), device="cpu").current().digest


def test_the_prediction_is_the_models(room):
    case = room.cases[0]
    file, told = room.infer("prediction", case, {"result_extension": ".nrrd"})
    served = ModelWatch(str(room.model), device="cpu").current()
    assert told["model"] == served.identity
    prepared = served.prepare(case.image)
    probabilities = served.logits(prepared).softmax(dim=0)
    if room.kind != "segmentation":
        assert file is None
        assert list(told["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-6)
        return
    segmented = sitk.GetArrayFromImage(sitk.ReadImage(file)).transpose(2, 1, 0)
    assert segmented.dtype == np.uint8
    assert segmented.shape == nibabel.load(case.image).shape
    assert told["voxels"] == {name: int((segmented == k).sum()) for k, name in enumerate(("anterior", "posterior"), 1)}


def test_bands_and_heat_map_lie_on_the_images_own_grid(room):
    case = room.cases[0]
    file, told = room.infer("saliency", case, {"saliency_method": "saliency"})
    bands = sitk.ReadImage(file)
    heat = sitk.ReadImage(room.infer("heat_map", case, {"saliency_method": "saliency"})[0])
    assert bands.GetPixelID() == sitk.sitkUInt8
    assert heat.GetPixelID() == sitk.sitkFloat32
    image = sitk.ReadImage(str(case.image))
    for answer in (bands, heat):
        assert answer.GetSize()[: image.GetDimension()] == image.GetSize()
        if image.GetDimension() == 3:
            assert answer.GetOrigin() == pytest.approx(image.GetOrigin(), abs=1e-4)
            assert answer.GetSpacing() == pytest.approx(image.GetSpacing())
            assert answer.GetDirection() == pytest.approx(image.GetDirection())
    values = sitk.GetArrayFromImage(bands)
    assert set(np.unique(values)) == {0, 1, 2, 3}
    strength = np.abs(sitk.GetArrayFromImage(heat))
    assert strength[values == 3].mean() > 2 * strength[values == 0].mean()
    assert told["method"] == "saliency"
    assert told["scores"] == {}


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.slow) if name in COSTLY else name for name in METHODS]
)
def test_every_method_of_the_registry_is_answered_by_name(room, method):
    if room.kind != "pictures" and method in COSTLY:
        pytest.skip("minutes on a volume; the same code as for pictures")
    if (room.kind, method) == ("segmentation", "guided_backprop"):
        with pytest.raises(ExplanationError, match="ReLU"):
            room.infer("saliency", room.cases[1], {"saliency_method": method})
        return
    _, told = room.infer("saliency", room.cases[1], {"saliency_method": method})
    assert told["method"] == method


def test_an_unknown_method_or_class_is_refused_with_the_known_ones(room):
    with pytest.raises(ExplanationError, match="gradient_x_input"):
        room.infer("saliency", room.cases[0], {"saliency_method": "tea leaves"})
    with pytest.raises(ExplanationError, match="choose from"):
        room.infer("saliency", room.cases[0], {"explained_class": "x"})


def test_an_app_without_a_model_or_with_one_nobody_approved_does_not_start(room, tmp_path, reading_app):
    from fedxai.label.app.main import FedxaiLabelApp

    with pytest.raises(SettingsError, match="model"):
        FedxaiLabelApp(str(tmp_path), str(tmp_path), {})
    changed = tmp_path / room.model.name
    shutil.copytree(room.model, changed)
    config = changed / "configs" / "train.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(BundleError, match="approved"):
        reading_app(tmp_path / "x", model=changed, images=[room.cases[0].image])


def test_a_class_is_explained_by_its_name(room):
    names = [*room.app.info()["models"]["prediction"]["labels"]]
    _, told = room.infer("saliency", room.cases[0], {"explained_class": names[-1]})
    assert told["explained_class"] == names[-1]


def test_a_new_global_model_is_picked_up_and_a_half_copied_one_never(room):
    """Last in this file: it changes the model of the module's app."""
    import torch

    file = room.model / "models" / "model.pt"
    before = room.app.info()["model"]["weights"]
    state = {name: value * 1.5 for name, value in torch.load(file, weights_only=True).items()}
    new = file.with_suffix(".new")
    torch.save(state, new)
    content = new.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    info = room.app.info()
    assert info["model"]["weights"] == before
    assert info["models"]["prediction"]["not_served"]
    holed = bytearray(content)
    holed[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    file.write_bytes(bytes(holed))
    assert room.app.info()["model"]["weights"] == before
    assert "whole" in room.app.watch.trouble
    os.replace(new, file)
    info = room.app.info()
    assert info["model"]["weights"] != before
    assert "not_served" not in info["models"]["prediction"]
    _, told = room.infer("prediction", room.cases[0], {})
    assert told["model"]["weights"] == info["model"]["weights"]
