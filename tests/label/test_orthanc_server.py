# SPDX-License-Identifier: Apache-2.0
"""A site's desk on a real Orthanc: list, next case, predict, explain, save; by REST and MONAI Label's client."""

import io
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest

from fedxai.bundle import Bundle
from fedxai.intake.phantom_3d import make_phantom_3d
from fedxai.settings import TrainSettings

pytest.importorskip("monailabel", reason="no MONAI Label here: pip install 'fedxai-med[label]'")

ORTHANC = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("orthanc.py"))))
SERIES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("dicom_series.py"))))
DESK = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("orthanc_desk.py"))))
WORKSTATION = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("workstation.py"))))
AXES = {"axial": "LPS", "sagittal": "PIR"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # patient with a loaded machine
    pytest.mark.skipif(ORTHANC.MISSING, reason=ORTHANC.WHY),
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, repository):
    """Orthanc with one case twice, cut as axial and as sagittal slices, and a site's server."""
    folder = tmp_path_factory.mktemp("desk")
    cohort = make_phantom_3d(folder / "cohort", site="site-1", index=1, task="classification", cases=12)
    model = DESK.with_weights(repository / "bundles" / "brain_mri_lesion_classification", folder)
    case = cohort.cases("test")[0]
    with ORTHANC.running(folder) as orthanc:
        series = {}
        for name, axes in AXES.items():
            files = SERIES.write_volume(folder / name, nib.load(case.image), axes=axes, patient=name)
            orthanc.upload(files)
            series[name] = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
        with DESK.serving(folder / "server", ["--dicomweb", orthanc.dicomweb], model) as server:
            yield SimpleNamespace(
                case=case, cohort=cohort, model=model, orthanc=orthanc, server=server, series=series, folder=folder
            )


@pytest.fixture(scope="module")
def client(desk):
    """MONAI Label's own client, logged in as 3D Slicer logs in: by name and token."""
    from fedxai.label import shims

    shims.apply()
    from monailabel.client import MONAILabelClient

    (desk.folder / "client").mkdir()
    logged_in = MONAILabelClient(desk.server.url, tmpdir=str(desk.folder / "client"), client_id="workstation")
    assert logged_in.auth_enabled()
    token = logged_in.auth_token("annotator", desk.server.tokens["annotator"])
    logged_in.update_auth(token)
    return logged_in


def grid_of(path):
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine


def region_on(desk, name):
    """The case's region as a reader would draw it on the series: (columns, rows, slices)."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(nib.load(desk.case.region).affine),
        nib.orientations.axcodes2ornt(AXES[name]),
    )
    drawn = nib.load(desk.case.region).as_reoriented(turn)
    return np.asarray(drawn.dataobj).astype(np.uint8), drawn.affine


def seg_of(desk, name):
    """What lies in Orthanc as SEG of a patient, newest last."""
    found = [pydicom.dcmread(io.BytesIO(desk.orthanc.file(i))) for i in desk.orthanc.find(Modality="SEG")]
    return sorted((seg for seg in found if seg.PatientID == name), key=lambda seg: (seg.ContentDate, seg.ContentTime))


def test_the_archives_series_are_listed_and_one_is_offered(desk, client):
    told = client.info()
    assert told["datastore"]["total"] == 2
    assert {"prediction", "saliency", "heat_map"} <= set(told["models"])
    assert client.next_sample("random", {})["id"] in desk.series.values()


@pytest.mark.parametrize("name", AXES)
def test_the_probability_is_the_sites_evaluation_figure(desk, name):
    from fedxai.train.engine import SiteTrainer

    bundle = Bundle.open(desk.model)
    site = SiteTrainer(
        bundle=bundle, cases=desk.cohort.splits(), site="site-1", settings=TrainSettings(threads=1), device="cpu"
    )
    weights = {key: value.numpy() for key, value in bundle.weights().items()}
    logits = np.asarray(site.logits("test", weights)[0], dtype=np.float64)[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    told = desk.server.told("POST", f"/infer/prediction?image={desk.series[name]}&output=json", data={"params": "{}"})
    np.testing.assert_allclose(list(told["probabilities"].values()), expected, rtol=1e-4)


@pytest.mark.parametrize("name", AXES)
def test_bands_and_heat_map_lie_on_the_series_own_grid(desk, client, name):
    _, affine = region_on(desk, name)
    banded, told = client.infer("saliency", desk.series[name], {"saliency_method": "gradient_x_input"})
    heat, _ = client.infer("heat_map", desk.series[name], {"saliency_method": "gradient_x_input"})
    bands, bands_affine = grid_of(banded)
    numbers, heat_affine = grid_of(heat)
    np.testing.assert_allclose(bands_affine, affine, atol=1e-3)
    np.testing.assert_allclose(heat_affine, affine, atol=1e-3)
    assert told["method"] == "gradient_x_input"
    assert set(np.unique(bands)) == {0, 1, 2, 3}
    means = [float(np.abs(numbers)[bands == band].mean()) for band in range(4)]
    assert means == sorted(means)


def test_a_readers_region_goes_to_the_archive_and_scores_the_explanation(desk, client, tmp_path):
    labels, affine = region_on(desk, "sagittal")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "drawn.nii.gz")
    _, before = client.infer("saliency", desk.series["sagittal"], {})
    assert not before["scores"]
    completed = client.info()["datastore"]["completed"]
    segments = [{"name": "lesion", "idx": 1}]
    client.save_label(desk.series["sagittal"], str(tmp_path / "drawn.nii.gz"), params={"label_info": segments})
    (seg,) = seg_of(desk, "sagittal")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["lesion"]
    assert seg.ContentCreatorName.family_name == "annotator"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == desk.series["sagittal"]
    assert int(seg.pixel_array.sum()) == int(labels.sum())
    _, after = client.infer("saliency", desk.series["sagittal"], {})
    assert 0 <= after["scores"]["relevance_mass"] <= 1
    assert 0 < after["chance"]["relevance_mass"] < 1
    assert client.info()["datastore"]["completed"] == completed + 1


def test_two_readers_are_both_kept_with_what_they_say(desk, client, tmp_path):
    labels, affine = region_on(desk, "axial")
    other = labels.copy()
    other[:, :, : other.shape[2] // 2] = 0
    for role, drawn, said in (("annotator", labels, 4), ("admin", other, 2)):
        file = tmp_path / f"{role}.nii.gz"
        nib.save(nib.Nifti1Image(drawn, affine), file)
        params = json.dumps({"label_info": [{"name": "lesion", "idx": 1}], "agreement": said})
        with file.open("rb") as opened:
            answer = desk.server.ask(
                "PUT",
                f"/datastore/label?image={desk.series['axial']}",
                role=role,
                data={"params": params},
                files={"label": opened},
            )
        assert answer.status_code == 200, answer.text
    readers = [seg.ContentCreatorName.family_name for seg in seg_of(desk, "axial")]
    assert readers == ["annotator", "admin"]
    told = desk.server.told("GET", f"/feedback/image?image={desk.series['axial']}")
    assert {opinion["reader"]: opinion["agreement"] for opinion in told["opinions"]} == {"annotator": 4, "admin": 2}
    assert told["agreement"]["dice"]["value"] < 1


def instances_of(desk, uid):
    return [pydicom.dcmread(io.BytesIO(desk.orthanc.file(i))) for i in desk.orthanc.find(SeriesInstanceUID=uid)]


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize(("model", "form"), [("heat_map", "map"), ("saliency", "capture")])
def test_saliency_that_is_asked_for_lies_beside_its_series(desk, client, name, model, form):
    address = f"/infer/{model}/series?image={desk.series[name]}&form={form}"
    told = desk.server.told("POST", f"{address}&method=gradient_x_input&explained_class=rimmed")
    assert (told["form"], told["method"], told["explained_class"]) == (form, "gradient_x_input", "rimmed")
    stored = instances_of(desk, told["series"])
    series = instances_of(desk, desk.series[name])
    assert len({one.StudyInstanceUID for one in [*stored, *series]}) == 1
    assert (len(stored), told["series"] in desk.series.values()) == (1 if form == "map" else len(series), False)
    asked = {"saliency_method": "gradient_x_input", "explained_class": "rimmed"}
    numbers, _ = grid_of(client.infer("heat_map", desk.series[name], asked)[0])
    if form == "map":
        np.testing.assert_allclose(stored[0].pixel_array.transpose(2, 1, 0), numbers, rtol=1e-4, atol=1e-9)
        assert list(stored[0].SoftwareVersions)[1] == told["model"]["weights"]
    else:
        pixels = [one.pixel_array for one in sorted(stored, key=lambda one: one.InstanceNumber)]
        coloured = [int((np.ptp(one, axis=-1) > 24).sum()) for one in pixels]
        strength = [float(np.abs(numbers[..., place]).max()) for place in range(len(series))]
        assert coloured[int(np.argmax(strength))] > 0
        assert all(f"model {told['model']['weights']};" in one.DerivationDescription for one in stored)
    assert client.info()["datastore"]["total"] == 2


@pytest.mark.parametrize(
    ("query", "role", "status"),
    [
        ("heat_map/series?image=SERIES", "reader", 403),
        ("heat_map/series?image=1.2.3", "annotator", 404),
        ("nobody/series?image=SERIES", "annotator", 404),
        ("prediction/series?image=SERIES", "annotator", 422),
        ("heat_map/series?image=SERIES&form=film", "annotator", 422),
        ("heat_map/series?form=map", "annotator", 422),
        ("heat_map/series?image=SERIES&method=tea_leaves", "annotator", 400),
        ("heat_map/series?image=SERIES&explained_class=unheard", "annotator", 400),
    ],
)
def test_saliency_that_cannot_or_may_not_be_stored_is_refused_and_nothing_is(desk, query, role, status):
    before = sorted(desk.orthanc.find())
    answer = desk.server.ask("POST", f"/infer/{query.replace('SERIES', desk.series['axial'])}", role=role)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    assert sorted(desk.orthanc.find()) == before


@pytest.fixture
def unread(desk):
    """The series as a case of its own that nobody drew on yet, in a patient of its own; away again afterwards."""
    files = SERIES.write_volume(desk.folder / "unread", nib.load(desk.case.image), axes="PIR", patient="unread")
    desk.orthanc.upload(files)
    desk.series["unread"] = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    yield "unread"
    del desk.series["unread"]
    (patient,) = desk.orthanc.find("Patient", PatientID="unread")
    desk.orthanc.forget(patient)


def scores_of(desk, name):
    told = desk.server.told("POST", f"/infer/heat_map?image={desk.series[name]}&output=json", data={"params": "{}"})
    return told["scores"], told["chance"]


def drawn_elsewhere(desk, name, segments, **how):
    """Another vendor's workstation stores a SEG into the archive, and not through us."""
    file = desk.folder / "elsewhere.dcm"
    WORKSTATION.write_seg(file, instances_of(desk, desk.series[name]), segments, **how)
    desk.orthanc.upload([file])


def test_what_another_workstation_drew_scores_the_explanation(desk, unread, tmp_path):
    labels, affine = region_on(desk, "sagittal")
    lesion = [("lesion", labels)]
    drawn_elsewhere(desk, unread, [("brain", np.ones_like(labels)), ("skull", labels)])  # nobody says which it is
    drawn_elsewhere(desk, unread, lesion, algorithm="AUTOMATIC")
    drawn_elsewhere(desk, unread, lesion, manufacturer="FedXAI-Med")  # lies among the opinions of its reader
    drawn_elsewhere(desk, unread, [("saliency high", labels)])
    assert scores_of(desk, unread) == ({}, {})
    drawn_elsewhere(desk, unread, lesion, reader="Stranger^A")
    before = scores_of(desk, unread)
    said = [desk.server.told("GET", f"/feedback/image?image={image}")["opinions"] for image in desk.series.values()]
    drawn_on_here = sum(any(opinion["names"] for opinion in opinions) for opinions in said)
    scored = desk.server.told("POST", "/scoring/explanations?run_sync=true", json={"methods": "saliency"})
    assert scored["images"] == drawn_on_here + 1
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "drawn.nii.gz")
    with (tmp_path / "drawn.nii.gz").open("rb") as opened:
        params = json.dumps({"label_info": [{"name": "lesion", "idx": 1}]})
        address = f"/datastore/label?image={desk.series[unread]}"
        desk.server.told("PUT", address, data={"params": params}, files={"label": opened})
    assert before == scores_of(desk, unread)  # as if it had been drawn here


def test_of_several_segments_the_one_named_as_a_class_is_the_region_and_the_newest_seg_counts(desk, unread):
    labels, _ = region_on(desk, "sagittal")
    whole = np.ones_like(labels)
    half = whole.copy()
    half[: len(half) // 2] = 0
    drawn_elsewhere(desk, unread, [("anything", half)], reader="Stranger^A")
    assert scores_of(desk, unread)[1]["relevance_mass"] > 0.4  # half of the image, on the padded grid of the network
    drawn_elsewhere(desk, unread, [("brain", whole), ("Rimmed", labels)], reader="Stranger^A")
    named = scores_of(desk, unread)
    assert named[1]["relevance_mass"] < 0.1
    drawn_elsewhere(desk, unread, [("anything", labels)], reader="Stranger^A")
    assert scores_of(desk, unread) == named


def test_whoever_may_only_read_saves_nothing(desk, tmp_path):
    labels, affine = region_on(desk, "axial")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "drawn.nii.gz")
    before = len(desk.orthanc.find(Modality="SEG"))
    for image, role, status in ((desk.series["axial"], "reader", 403), ("1.2.3", "annotator", 404)):
        with (tmp_path / "drawn.nii.gz").open("rb") as opened:
            answer = desk.server.ask(
                "PUT", f"/datastore/label?image={image}", role=role, data={"params": "{}"}, files={"label": opened}
            )
        assert answer.status_code == status
    assert len(desk.orthanc.find(Modality="SEG")) == before
