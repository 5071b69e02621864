# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import CheckpointSaver

from fedxai.bundle import Bundle
from fedxai.errors import BundleError, SettingsError
from fedxai.settings import BUNDLES_VARIABLE


@pytest.fixture
def copy(brain_bundle, tmp_path):
    """The brain bundle in a folder of its own, to be spoilt."""
    target = tmp_path / "bundles" / "mine"
    shutil.copytree(brain_bundle.path, target, ignore=shutil.ignore_patterns("models", "eval"))
    return target


def _edit(file, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def _tree(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_bundle_opens_by_name_and_by_path(brain_bundle, repository):
    by_path = Bundle.open(repository / "bundles" / "brain_mri_tumor_classification")
    assert by_path.identity == brain_bundle.identity
    assert by_path.class_names == ["meningioma", "glioma", "pituitary"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(BundleError, match=r"no bundle 'brain'; known bundles: .*brain_mri_tumor.*, chest_xray_"):
        Bundle.open("brain")


def test_the_environment_adds_a_folder_of_bundles(copy, monkeypatch):
    monkeypatch.setenv(BUNDLES_VARIABLE, str(copy.parent))
    assert Bundle.open("mine").path == copy.resolve()
    with pytest.raises(BundleError, match="brain_mri_tumor_classification.*mine"):
        Bundle.open("yours")


def test_the_question_begins_where_the_input_range_begins(copy):
    _edit(copy / "configs" / "explain.json", lambda explain: explain.update(input_range=[-1, 1]))
    assert Bundle.open(copy).question["black"] == -1.0


@pytest.mark.parametrize("name", ["metadata.json", "train.json", "explain.json"])
def test_a_missing_config_is_named(copy, name):
    (copy / "configs" / name).unlink()
    with pytest.raises(BundleError, match=f"bundle mine lacks configs/{name}"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["metadata.json", "train.json", "explain.json"])
def test_a_config_cut_short_is_named(copy, name):
    file = copy / "configs" / name
    file.write_text(file.read_text()[:-40])
    with pytest.raises(BundleError, match=f"mine: configs/{name} is not readable JSON"):
        Bundle.open(copy)


def test_missing_parts_of_train_json_are_all_named(copy):
    _edit(copy / "configs" / "train.json", lambda train: [train.pop(key) for key in ("loss", "validate")])
    with pytest.raises(BundleError, match=r"mine: configs/train\.json lacks validate#evaluator, loss$"):
        Bundle.open(copy)


def test_metadata_without_class_names_is_refused(copy):
    _edit(copy / "configs" / "metadata.json", lambda meta: meta["network_data_format"]["outputs"].pop("pred"))
    with pytest.raises(BundleError, match="mine: metadata.json needs .*channel_def, one name a class"):
        Bundle.open(copy)


def test_a_gap_in_the_class_numbers_is_refused(copy):
    def rename(meta):
        names = meta["network_data_format"]["outputs"]["pred"]["channel_def"]
        names["7"] = names.pop("1")

    _edit(copy / "configs" / "metadata.json", rename)
    with pytest.raises(BundleError, match="channel_def"):
        Bundle.open(copy)


def test_a_typing_error_in_explain_json_names_the_key_and_the_known_ones(copy):
    _edit(copy / "configs" / "explain.json", lambda explain: explain.update(target_layr="layer3"))
    with pytest.raises(SettingsError, match=r"mine/configs/explain\.json: target_layr .*known settings: methods"):
        Bundle.open(copy)


def test_the_digest_follows_every_byte_of_the_configs(copy):
    before = Bundle.open(copy).digest
    for name in ("explain.json", "inference.json", "metadata.json", "train.json"):
        file = copy / "configs" / name
        kept = file.read_bytes()
        file.write_bytes(kept + b"\n")
        assert Bundle.open(copy).digest != before
        file.write_bytes(kept)
    assert Bundle.open(copy).digest == before


def test_the_digest_follows_names_and_code(copy):
    digests = [Bundle.open(copy).digest]
    (copy / "scripts").mkdir()
    (copy / "scripts" / "one.py").write_text("")
    digests.append(Bundle.open(copy).digest)
    (copy / "scripts" / "one.py").rename(copy / "scripts" / "two.py")
    digests.append(Bundle.open(copy).digest)
    assert len(set(digests)) == 3


def test_the_digest_leaves_documents_weights_and_the_folders_name_alone(copy, brain_bundle):
    (copy / "docs" / "README.md").write_text("changed")
    (copy / "LICENSE").write_text("changed")
    (copy / "models").mkdir()
    (copy / "models" / "model.pt").write_bytes(b"weights")
    assert Bundle.open(copy).digest == brain_bundle.digest


def test_a_network_follows_its_seed_and_nothing_else(brain_bundle):
    torch.manual_seed(5)
    first = brain_bundle.network(seed=1).state_dict()
    torch.manual_seed(6)
    state = torch.random.get_rng_state()
    second, other = brain_bundle.network(seed=1).state_dict(), brain_bundle.network(seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_overrides_reach_into_the_configuration(brain_bundle):
    parser = brain_bundle.parser({"learning_rate": 0.25, "device": "cpu"})
    assert parser.get_parsed_content("optimizer").param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_an_export_gives_the_same_logits(brain_bundle, tmp_path, kind):
    network = brain_bundle.network(seed=3).eval()
    weights = {name: value if kind == "tensors" else value.numpy() for name, value in network.state_dict().items()}
    exported = Bundle.open(brain_bundle.export(tmp_path, weights))
    again = exported.network(seed=4).eval()
    again.load_state_dict(torch.load(exported.path / "models" / "model.pt", weights_only=True))
    shape = brain_bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    images = torch.rand((2, 1, *shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(images), again(images))


def test_weights_may_lie_in_a_checkpoint_as_monai_saves_it(copy, brain_bundle):
    network = brain_bundle.network(seed=3)
    optimizer = torch.optim.AdamW(network.parameters())
    trainer = Engine(lambda *_: network(torch.rand(1, 1, 96, 96)).sum().backward() or optimizer.step())
    saved = {"model": network, "optimizer": optimizer}
    CheckpointSaver(save_dir=str(copy / "models"), save_dict=saved, save_final=True, final_filename="model.pt").attach(
        trainer
    )
    trainer.run([0])
    bundle = Bundle.open(copy)
    assert bundle.inspection.refusal is None
    weights = bundle.weights()
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("state", [{"model": {"w": 1}}, {"net": {"w": torch.zeros(1)}}, [torch.zeros(1)]])
def test_what_is_no_state_dict_is_refused(copy, state):
    (copy / "models").mkdir()
    torch.save(state, copy / "models" / "model.pt")
    with pytest.raises(BundleError, match="must hold a plain state dict of tensors, or one as 'model'"):
        Bundle.open(copy).weights()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:'torch.load' received a zip file")
@pytest.mark.parametrize("name", ["model.ts", "model.pt"])
def test_torchscript_passes_the_check_as_not_read_here_and_is_not_loaded(copy, name):
    (copy / "models").mkdir()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 1), torch.zeros(1, 2)), str(copy / "models" / name))
    bundle = Bundle.open(copy)
    assert bundle.inspection.refusal is None
    assert list(bundle.inspection.weights) == [f"models/{name}"]
    [found] = [finding for finding in bundle.inspection.findings if finding.kind == "weights"]
    assert (found.where, found.runs, found.problem) == (f"models/{name}", False, None)
    assert found.reaches == "TorchScript, which is not read here"
    with pytest.raises(BundleError, match="has no weights" if name == "model.ts" else "cannot be read as weights"):
        bundle.weights()


def test_weights_that_the_disk_does_not_give_are_said_to_be_that(copy, monkeypatch):
    (copy / "models").mkdir()
    torch.save({}, copy / "models" / "model.pt")

    def refused(file):
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr("torch.serialization.get_unsafe_globals_in_checkpoint", refused)
    assert "models/model.pt: cannot be read" in str(Bundle.open(copy).inspection.refusal)


def test_an_export_is_the_whole_bundle_under_its_own_name_and_digest(brain_bundle, tmp_path):
    exported = brain_bundle.export(tmp_path, {})
    assert exported == tmp_path / brain_bundle.name
    assert Bundle.open(exported).identity == brain_bundle.identity
    assert {"LICENSE", "docs/README.md", "configs/train.json", "models/model.pt"} <= set(_tree(exported))


def test_a_second_export_replaces_the_first_whole(brain_bundle, tmp_path):
    first = brain_bundle.export(tmp_path, {"weight": torch.zeros(1)})
    (first / "left_over.txt").write_text("of the first")
    second = brain_bundle.export(tmp_path, {"weight": torch.ones(1)})
    assert torch.load(second / "models" / "model.pt", weights_only=True) == {"weight": torch.ones(1)}
    assert not (second / "left_over.txt").exists()
    assert [child.name for child in tmp_path.iterdir()] == [brain_bundle.name]


def test_an_export_does_not_carry_old_weights_or_results_along(copy, tmp_path):
    for folder in ("models", "eval"):
        (copy / folder).mkdir()
        (copy / folder / "old").write_text("old")
    exported = Bundle.open(copy).export(tmp_path / "out", {})
    assert not [name for name in _tree(exported) if name.endswith("old")]


def test_a_full_disk_keeps_the_earlier_export_and_nothing_half_written(brain_bundle, tmp_path, little_room):
    first = brain_bundle.export(tmp_path, {"weight": torch.zeros(1)})
    before = _tree(first)
    with little_room(1_000_000), pytest.raises(OSError, match="File too large"):
        brain_bundle.export(tmp_path, {"weight": torch.ones(1_000_000)})
    assert _tree(first) == before
    assert [child.name for child in tmp_path.iterdir()] == [brain_bundle.name]
