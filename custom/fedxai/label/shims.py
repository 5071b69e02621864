# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label 0.8.5 needs on this stack before it can be imported; everything of that kind is in this file."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from fedxai.errors import RunError

INSTALL = "pip install -c constraints.txt -e '.[label]' && pip install --no-deps monailabel==0.8.5 pydicom-seg==0.4.1"
_STORAGE = "pydicom._storage_sopclass_uids"
_DRAWING = ("monailabel.transform.post", "monailabel.deepedit.handlers")  # all that import torchvision


def apply() -> None:
    """Make MONAI Label importable; call it first in the server's process and at the top of the app's ``main.py``.

    MONAI Label trains and scores in processes of their own that import nothing of ours but ``main.py``.

    Raises:
        RunError: when MONAI Label or something that it needs is not installed.
    """
    check_installed()
    old_storage_classes()
    with_drawing_stub()


def check_installed() -> None:
    """Ask for the extra before anything of it is imported.

    Raises:
        RunError: when MONAI Label or something that it needs is not installed.
    """
    for name in ("monailabel", "pydicom_seg", "fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise RunError(f"{name} is not installed; install it with: {INSTALL}")


def old_storage_classes() -> bool:
    """Give pydicom-seg 0.4.1 the module that pydicom 3 renamed; whether that was needed.

    https://github.com/razorx89/pydicom-seg/issues/60, seen from MONAI Label in
    https://github.com/Project-MONAI/MONAILabel/issues/1841
    """
    if _STORAGE in sys.modules or not old_storage_missing():
        return False
    sys.modules[_STORAGE] = importlib.import_module("pydicom.uid")
    return True


def old_storage_missing() -> bool:
    """Whether pydicom is one that renamed the module."""
    found = importlib.util.find_spec("pydicom")
    return found is not None and not Path(str(found.origin)).with_name("_storage_sopclass_uids.py").is_file()


def with_drawing_stub() -> bool:
    """Import what of MONAI Label draws training pictures with torchvision, where there is none; whether that was so.

    Nothing here draws them, and torchvision as MONAI Label asks for it replaces the site's PyTorch:
    https://github.com/Project-MONAI/MONAILabel/issues/1844. One of another build does not load at all:
    https://github.com/pytorch/pytorch/issues/122494. The stub is gone afterwards, so that nobody else takes it for
    the real package.
    """
    if not torchvision_missing():
        return False
    stub, drawing = ModuleType("torchvision"), ModuleType("torchvision.utils")
    stub.utils = drawing  # pyright: ignore[reportAttributeAccessIssue]
    drawing.make_grid = drawing.save_image = _no_pictures  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules.update({"torchvision": stub, "torchvision.utils": drawing})
    try:
        for module in _DRAWING:
            importlib.import_module(module)
    finally:
        del sys.modules["torchvision"], sys.modules["torchvision.utils"]
    return True


def torchvision_missing() -> bool:
    """Whether there is no torchvision that loads beside this PyTorch."""
    if importlib.util.find_spec("torchvision") is None:
        return True
    try:
        importlib.import_module("torchvision.utils")
    except (ImportError, RuntimeError):  # RuntimeError: a build for another PyTorch
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        return True
    return False


def _no_pictures(*_: Any, **__: Any) -> NoReturn:
    raise RunError("training pictures need torchvision, which this server works without")
