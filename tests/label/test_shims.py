# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label needs here before it can be imported: given where it is missing, gone again, named upstream."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedxai.errors import RunError
from fedxai.label import shims

REAL_TORCHVISION = importlib.util.find_spec("torchvision") is not None
REAL_STORAGE = importlib.util.find_spec("pydicom._storage_sopclass_uids") is not None


def python(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(REAL_TORCHVISION or REAL_STORAGE, reason="this stack needs no shims")
def test_without_the_shims_monai_label_cannot_be_imported_and_with_them_it_can():
    bare = python("import pydicom_seg")
    assert "_storage_sopclass_uids" in bare.stderr
    bare = python("import monailabel.transform.post")
    assert "torchvision" in bare.stderr
    done = python(
        "from fedxai.label import shims; shims.apply(); shims.apply()\n"
        "import pydicom_seg, monailabel.app, monailabel.transform.post, sys\n"
        "print([name for name in sys.modules if name.startswith('torchvision')])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"  # nobody takes the stub for the real package


@pytest.mark.slow
@pytest.mark.skipif(REAL_TORCHVISION, reason="there is a real torchvision")
def test_the_stub_does_not_draw():
    done = python(
        "from fedxai.label import shims; shims.apply()\n"
        "from monailabel.transform.post import make_grid\n"
        "make_grid(None)"
    )
    assert "training pictures need torchvision" in done.stderr


def test_what_is_not_installed_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"monailabel is not installed; install it with: pip install .*--no-deps"):
        shims.apply()


def test_every_shim_names_its_upstream_issue():
    text = Path(shims.__file__).read_text()
    assert len(re.findall(r"https://github\.com/[\w-]+/[\w-]+/issues/\d+", text)) >= 3


def test_nothing_is_imported_before_it_is_asked_for():
    done = python(
        "import sys, fedxai.label, fedxai.label.shims, fedxai.label.settings\n"
        "print([name for name in ('torch', 'monai', 'monailabel') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr
