# SPDX-License-Identifier: Apache-2.0
"""Bundles that hide execution, each in another place: refused by the check, by approval and at the site."""

import contextlib
import json
import logging.config
import pickle
import sys
import time
from pathlib import Path

import pytest
import torch

from fedxai.bundle import Bundle
from fedxai.bundle.approval import LIST_FILE, Approval, ApprovedBundles, approve
from fedxai.bundle.files import digest
from fedxai.bundle.inspection import Inspection
from fedxai.errors import BundleError
from fedxai.flare.site import Site


def expression(write, config, marker):
    config["network_def"]["in_channels"] = f"$1 + 0 * __import__('os').system('touch {marker}')"
    return write(config)


def target(write, config, marker):
    config["network_def"]["dropout"] = {"_target_": "os.system", "command": f"touch {marker}"}
    return write(config)


def script(write, config, marker):
    config["train"]["random_transforms"].append({"_target_": "scripts.more.Doubled", "keys": "image"})
    folder = write(config)
    (folder / "scripts").mkdir()
    text = f"from pathlib import Path\nfrom monai.transforms import MapTransform\nPath({str(marker)!r}).touch()\n"
    (folder / "scripts" / "more.py").write_text(text + "class Doubled(MapTransform):\n    pass\n")
    return folder


def reader(write, config, marker):
    """MONAI imports and calls whatever a dotted reader names."""
    load = config["train"]["deterministic_transforms"][0]
    load.update(reader="subprocess.Popen", args=["touch", str(marker)])
    return write(config)


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def weights(write, config, marker):
    folder = write(config)
    (folder / "models").mkdir()
    torch.save({"weight": Touch(marker)}, folder / "models" / "model.pt")
    return folder


def logging_file(write, config, marker):
    folder = write(config)
    text = (folder / "configs" / "logging.conf").read_text()
    code = f"(__import__('pathlib').Path({str(marker)!r}).touch() or sys.stdout,)"
    text = text.replace("args=(sys.stdout,)", f"args={code}").replace("[handlers]", "[loggers]\nkeys=root\n[handlers]")
    rest = "[logger_root]\nhandlers=console\n[formatters]\nkeys=\n"
    (folder / "configs" / "logging.conf").write_text(text + rest)
    return folder


def yaml_tag(write, config, marker):
    folder = write(config, suffix=".yaml")
    file = folder / "configs" / "train.yaml"
    file.write_text(file.read_text() + f"more: !!python/object/apply:os.system ['touch {marker}']\n")
    return folder


def link(write, config, marker):
    folder = write(config)
    outside = folder.parent / "outside.json"
    outside.write_text(json.dumps({"network_def": f"$__import__('os').system('touch {marker}')"}))
    (folder / "configs" / "inference.json").symlink_to(outside)
    return folder


def nested(write, config, marker):
    folder = write({**config, "network_def": "%../../outside.json#network_def"})
    outside = folder.parent / "outside.json"
    outside.write_text(json.dumps({"network_def": f"$__import__('os').system('touch {marker}')"}))
    return folder


def environment(write, config, _):
    config["network_def"]["norm"] = "$os.environ['HOME']"
    return write(config)


def shadow(write, config, marker):
    folder = write(config)
    (folder / "monai.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    return folder


def logging_of_its_own(write, config, marker):
    """Python's logging calls whatever its configuration names."""
    handler = {"()": "os.system", "command": f"touch {marker}"}
    settings = {"version": 1, "handlers": {"x": handler}, "root": {"handlers": ["x"]}}
    config["network_def"]["dropout"] = {"_target_": "logging.config.dictConfig", "config": settings}
    return write(config)


HOSTILE = [
    (expression, "network_def#in_channels: attribute .system is not on the allow list"),
    (target, "network_def#dropout: os.system is outside"),
    (script, "scripts/more.py:1: pathlib.Path is outside"),
    (reader, "reader must be the plain name"),
    (weights, "models/model.pt: holds more than tensors"),
    (logging_file, "logging.conf: its handler_console has args"),
    (logging_of_its_own, "network_def#dropout: logging.config.dictConfig is not on the allow list"),
    (yaml_tag, "train.yaml: YAML tag .*python/object/apply"),
    (link, "configs/inference.json: is a link"),
    (nested, "names a file outside the bundle"),
    (environment, "network_def#norm: os.environ is outside"),
    (shadow, "monai.py: shadows the installed module monai"),
]
EACH = pytest.mark.parametrize(("make", "reason"), HOSTILE, ids=lambda value: getattr(value, "__name__", ""))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


def site_for(folder, local, *, simulated):
    site = Site(bundle=str(folder))
    site._context = {"local": local, "simulated": simulated, "name": "site-1"}
    return site


@EACH
def test_the_check_refuses_it_and_runs_nothing(write, config, marker, make, reason):
    folder = make(write, config, marker)
    with pytest.raises(BundleError, match=reason):
        raise BundleError(Inspection(folder).refusal)
    assert not marker.exists()


@EACH
def test_it_cannot_be_approved(write, config, marker, make, reason):
    folder = make(write, config, marker)
    with pytest.raises(BundleError, match=reason):
        approve(Inspection(folder), folder.parent / LIST_FILE)
    assert not (folder.parent / LIST_FILE).exists()
    assert not marker.exists()


@EACH
def test_the_site_refuses_it_even_with_its_digest_written_into_the_list(write, config, marker, make, reason, tmp_path):
    folder, local = make(write, config, marker), tmp_path / "local"
    local.mkdir()
    entry = Approval(name=folder.name, version="0.1.0", digest=digest(folder))
    (local / LIST_FILE).write_text(ApprovedBundles(bundles=(entry,)).model_dump_json())
    with pytest.raises(BundleError, match=reason):
        _ = site_for(folder, local, simulated=False).bundle
    assert not marker.exists()


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (expression, "network_def"),
        (target, "network_def"),
        (script, "train#preprocessing"),
        (reader, "train#preprocessing"),
    ],
)
def test_without_the_check_it_would_run(write, config, marker, make, asked, monkeypatch):
    monkeypatch.setattr(Inspection, "refusal", None)
    folder = make(write, config, marker)
    with contextlib.suppress(RuntimeError):  # MONAI's, about what the hidden code gave back
        Bundle.open(folder).parser({"device": "cpu"}).get_parsed_content(asked)
    deadline = time.monotonic() + 5
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marker.exists()


def test_without_care_the_weights_would_run_and_with_it_they_do_not(write, config, marker):
    file = weights(write, config, marker) / "models" / "model.pt"
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists()


def test_without_the_check_the_logging_file_would_run(write, config, marker):
    folder = logging_file(write, config, marker)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logging.config.fileConfig(folder / "configs" / "logging.conf", disable_existing_loggers=False)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "$torch.os.system('true')",
        "$np.load('x.npy', allow_pickle=True)",
        "$().__class__.__base__.__subclasses__()",
        "$monai.utils.misc.run_cmd(['true'])",
        "$torch.hub.load('a', 'b')",
        "$(lambda torch: torch)(1)",
        "$[x for x in (1,)].__init__",
        "$getattr(torch, 'o' + 's')",
        "$torch",
        "$monai.utils.optional_import('os')",
        "$monai.transforms.LoadImage('subprocess.Popen')",
        "$(y := 1)",
        "$open('x')",
        "$'{0.__class__}'.format(1)",
        "$@loss.register_forward_hook(print)",
        "$import subprocess",
        "$from os import system as len",
        "$import os as torch",
        "$1; import os",
        "$torch.load('x', weights_only=False)",
        "$torch.nn.Module.load_state_dict",
        "$monai.networks.nets.EfficientNetBN('efficientnet-b0')",
        "$monai.networks.nets.resnet.get_pretrained_resnet_medicalnet(10)",
        "$monai.inferers.PatchInferer(merger_cls='os.system')",
        "$(lambda package: package.float32)(torch.utils)",
        "$logging.FileHandler('x')",
        "$logging.config.dictConfig({'handlers': {'x': {'()': 'os.system', 'command': 'true'}}})",
        "$from logging.config import dictConfig",
        "$typing._eval_type(typing.List['1'], {}, {})",
        "$dataclasses._create_fn('f', ['a=1'], ['pass'])",
    ],
)
def test_an_expression_outside_the_allow_list_is_refused_where_it_runs(write, config, text):
    config["imports"] += ["$import logging", "$import logging.config", "$import typing", "$import dataclasses"]
    config["network_def"]["norm"] = text
    assert any("network_def#norm" in found.where for found in Inspection(write(config)).findings if found.problem)


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        ({"_target_": "exec", "source": "1"}, "exec is outside"),
        ({"_target_": "$'os.' + 'system'"}, "must be spelt out"),
        ({"_target_": "@loss"}, "must be spelt out"),
        ({"_target_": "torch.nn.Identity", "_mode_": "debug"}, "must be left at their defaults"),
        ({"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"}, "would download weights"),
        ({"_target_": "fedxai.cli.main"}, "not on the allow list"),
        ({"_target_": "monai.bundle.run"}, "not on the allow list"),
        ({"_target_": "scripts.gone.Net"}, "not in the bundle's scripts"),
        ({"_target_": "logging.config.dictConfig", "config": {"version": 1}}, "not on the allow list"),
        ({"_target_": "logging.FileHandler", "filename": "x"}, "not on the allow list"),
        ({"_target_": "torch.utils"}, "is a whole module"),
    ],
)
def test_a_target_outside_the_allow_list_is_refused(write, config, component, reason):
    config["network_def"]["norm"] = component
    assert reason in (Inspection(write(config)).refusal or "")


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess",
        "from monai.utils.misc import run_cmd",
        "import torch\ntorch.save({}, 'x')",
        "open('x', 'w')",
        "import logging\nlogging.os.system('true')",
        "x = ().__class__.__bases__",
        "from monai.utils import optional_import\noptional_import('os')",
        "import torch\nx = torch.zeros(1).numpy().tofile('x')",
        "def f(x):\n    return eval(x)",
        "import torch\nx = torch\nx.os.remove('y')",
        "from torch.nn import *",
        "import torch\ny = [torch][0]\ny.package.PackageImporter('x')",
        "import torch\ndef f(module):\n    return module.package\nf(torch)",
        "import numpy as np\nq = np\nq.lib.format.open_memmap('x', mode='w+')",
        "import torch\nq = torch.utils\nq.model_zoo.load_url('http://127.0.0.1:9/x')",
        "import torch as q\nif False:\n    from .deep import value as q\nq.distributed.TCPStore('127.0.0.1', 9)",
        "import torch as q\ndef q(): ...\nq.distributed.TCPStore('127.0.0.1', 9)",
        "from .deep import torch as t\nt.distributed.TCPStore('127.0.0.1', 9)",
        "from . import deep\ndeep.torch.distributed.TCPStore('127.0.0.1', 9)",
        "from . import deep\nd = deep\nd.torch.distributed.TCPStore('127.0.0.1', 9)",
        "from monai.utils import optional_import\nt, _ = optional_import('torch')",
        "from monai.utils import optional_import\nt, _ = optional_import('torch', name='hub')",
        "from monai.utils import optional_import\nf = optional_import",
        "from monai.transforms import LoadImage\nLoadImage('os.system', command='true')",
        "import logging.config\nlogging.config.BaseConfigurator({}).resolve('os.' + 'system')('true')",
        "import logging.handlers\nlogging.handlers.RotatingFileHandler('x')",
        "import typing\ntyping._eval_type(typing.List['1'], {}, {})",
        "import dataclasses\ndataclasses._create_fn('f', ['a=1'], ['pass'])",
        "import functools\nfunctools.singledispatch(len)",
        "syntax error",
    ],
)
def test_a_script_that_runs_is_held_to_the_list(write, config, text):
    config["train"]["random_transforms"].append({"_target_": "scripts.more.Doubled", "keys": "image"})
    folder = write(config)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "more.py").write_text(f"{text}\nclass Doubled:\n    pass\n")
    (folder / "scripts" / "deep.py").write_text("import torch\nvalue = 1\n")
    assert any(found.where.startswith("scripts/more.py") for found in Inspection(folder).findings if found.problem)


def test_a_script_may_use_what_computes_and_what_its_siblings_define(write, config):
    config["train"]["random_transforms"].append({"_target_": "scripts.more.Doubled", "keys": "image"})
    folder = write(config)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "more.py").write_text(
        "from __future__ import annotations\nimport itertools\nimport logging\nimport torch.nn as nn\n"
        "from collections.abc import Sequence\nimport torch.nn.functional as F\n"
        "from torch.nn.modules.loss import _Loss\nfrom monai.utils import optional_import\n"
        "from . import layers\nfrom .layers import WIDTH, Layer as Block\n"
        "rearrange, _ = optional_import('einops', name='rearrange')\nlog = logging.getLogger(__name__)\n"
        "class Doubled(nn.Module):\n    def __init__(self, keys: Sequence[str]):\n        super().__init__()\n"
        "        self._block = Block(WIDTH)\n        self.other = layers.Layer(layers.WIDTH)\n"
        "    def forward(self, x):\n        log.info('%s', list(itertools.chain.from_iterable([[1]])))\n"
        "        return F.relu(self._block(x))\n"
    )
    (folder / "scripts" / "layers.py").write_text(
        "from torch import nn\nWIDTH = 3\nclass Layer(nn.Linear):\n    pass\n"
    )
    assert not [found for found in Inspection(folder).findings if found.problem]


def test_a_script_of_a_script_is_read_too(write, config):
    config["train"]["random_transforms"].append({"_target_": "scripts.more.Doubled", "keys": "image"})
    folder = write(config)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "more.py").write_text("from .deep import x\nclass Doubled:\n    pass\n")
    (folder / "scripts" / "deep.py").write_text("import os\nx = os.getcwd()\n")
    assert "scripts/deep.py:1: os is outside" in (Inspection(folder).refusal or "")


def test_metadata_cannot_bring_code_in(write, config):
    """MONAI runs every import statement that a parser holds; the bundle's metadata is no part of ours."""
    folder = write(config)
    file = folder / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "note": "$import this"}))
    sys.modules.pop("this", None)
    Bundle.open(folder).parser({"device": "cpu"}).get_parsed_content("network_def")
    assert "this" not in sys.modules


def test_compiled_code_and_pickles_are_refused(write, config):
    folder = write(config)
    for name in ("scripts/__pycache__/more.cpython-311.pyc", "models/data.pkl"):
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        assert name in (Inspection(folder).refusal or "")
        file.unlink()
