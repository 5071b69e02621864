# SPDX-License-Identifier: Apache-2.0
"""What a bundle may name: an allow list of what computes, and a shorter one of what published bundles also name.

Everything on neither list is refused, wherever it stands. Names are looked up in the installed packages only (never
in the bundle), by the module that *defines* the object: ``torch.os.system`` is ``os``'s, and so is an alias of it.
"""

import inspect
import json
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

LISTS: dict[str, Any] = json.loads((Path(__file__).parent / "allow_list.json").read_text(encoding="utf-8"))
PACKAGES = ("monai", "torch", "ignite", "numpy", "fedxai")
_PLAIN: dict[str, list[str]] = LISTS["plain_modules"]
ROOTS = frozenset([*PACKAGES, *_PLAIN])
_HOMES, _NOT_HOMES = tuple(LISTS["homes"]), tuple(LISTS["not_homes"])
_NAMES, _NUMPY = frozenset(LISTS["names"]), frozenset(LISTS["numpy"])
_REACHES, _NOWHERE = LISTS["reaches"], tuple(LISTS["nowhere"])


def problem_of(name: str, *, imports: bool = False) -> str | None:
    """Why a dotted name may not run at a site; None where it may.

    Args:
        name: as it is written, aliases resolved.
        imports: whether an import statement names it; nothing else may name a whole module, since what is then done
            with the module has no name that could be judged.
    """
    if root_of(name) not in ROOTS:
        return f"{name} is outside monai, torch, ignite, numpy and fedxai"
    if _is_plain(name):
        return None
    try:
        found = _look_up(name)
    except LookupError as error:
        return str(error)
    ours = root_of(name) in PACKAGES
    if isinstance(found, ModuleType) and (ours or name in _PLAIN):
        return None if imports else f"{name} is a whole module; name what you need of it"
    return None if ours and (_is_constant(found) or _computes(name, found)) else f"{name} is not on the allow list"


def reach_of(name: str) -> str | None:
    """What a name outside the allow list reaches, where published bundles name such things; None: not even there."""
    if root_of(name) in PACKAGES:
        try:
            _look_up(name)
        except LookupError:
            return None
        if name.startswith(_NOWHERE):
            return None
    matching = [prefix for prefix in _REACHES if name == prefix.rstrip(".") or name.startswith(prefix)]
    return _REACHES[max(matching, key=len)] if matching else None


def component_name(target: str) -> str:
    """The dotted name that MONAI finds for a ``_target_``: a bare name is one of MONAI's own."""
    if "." in target:
        return target
    modules = _locator().get_component_module_name(target)
    module = modules[0] if isinstance(modules, list) else modules
    return f"{module}.{target}" if module else target


def locates(name: str) -> bool:
    """Whether it imports whatever an argument names: a reader, a merger. As a ``_target_`` those arguments are read."""
    return ".transforms.Load" in name or ".transforms.io" in name or name.endswith(".PatchInferer")


def downloads(name: str, arguments: dict[str, Any]) -> bool:
    """Whether a network would fetch weights: a ``pretrained...`` argument that is given, or is on by default."""
    if any(key.startswith(("pretrained", "progress_url")) and bool(value) for key, value in arguments.items()):
        return True
    try:
        parameters = inspect.signature(_look_up(name)).parameters
    except (LookupError, TypeError, ValueError):
        return False
    return any(p.startswith("pretrained") and v.default is True and p not in arguments for p, v in parameters.items())


@cache
def _locator() -> Any:
    import monai  # noqa: F401  # loads MONAI's modules, which the locator then knows
    from monai.bundle import ComponentLocator

    return ComponentLocator()


@cache
def _look_up(name: str) -> Any:
    """The object of a dotted name, walking through modules of its own package only."""
    parts = name.split(".")
    try:
        found: Any = import_module(parts[0])
    except ImportError as error:
        raise LookupError(f"{parts[0]} is not installed") from error
    for index, part in enumerate(parts[1:], start=1):
        if part.startswith("_") and name not in _NAMES:
            raise LookupError(f"{name} reaches into what its module keeps to itself")
        if isinstance(found, ModuleType) and not hasattr(found, part):
            try:
                found = import_module(".".join(parts[: index + 1]))
            except ImportError as error:
                raise LookupError(f"{name} does not exist in the installed {parts[0]}") from error
        else:
            found = getattr(found, part, LookupError)
        if found is LookupError:
            raise LookupError(f"{name} does not exist in the installed {parts[0]}")
        if isinstance(found, ModuleType) and not _inside(found, parts[0]):
            raise LookupError(f"{name} leads out of {parts[0]} into {found.__name__}")
    return found


def _inside(module: ModuleType, root: str) -> bool:
    return root_of(module.__name__) in ((*PACKAGES, root) if root in PACKAGES else (root,))


def root_of(name: str) -> str:
    """The first part of a dotted name: its package."""
    return name.partition(".")[0]


def _is_plain(name: str) -> bool:
    """Whether a name of Python's own modules is listed."""
    module, _, own = name.rpartition(".")
    return own in _PLAIN.get(module, ())


def _is_constant(found: Any) -> bool:
    import enum

    import torch

    plain = (str, int, float, bool, type(None))
    return isinstance(found, (*plain, enum.Enum, torch.dtype, torch.layout, torch.memory_format))


def _computes(name: str, found: Any) -> bool:
    """Whether an object is on the allow list, by where it is defined."""
    try:
        module = getattr(found, "__module__", None) or name.rpartition(".")[0]
        home = f"{module}.{getattr(found, '__qualname__', name.rpartition('.')[2])}"
    except Exception:  # MONAI's stand-in for a package that is not installed raises whatever is asked of it
        return False
    root = root_of(module)
    if root not in PACKAGES or root_of(name) != root or _is_method(found):
        return False
    if root == "fedxai":
        return _is_part(found)
    if root == "numpy" and name.count(".") == 1:
        return name[6:] in _NUMPY or _is_number_type(found)
    if isinstance(found, type(len)) or "<locals>" in home:  # no home worth the name: the written one counts
        return name.startswith(_HOMES) or _is_tensor_function(name)
    return home in _NAMES or name in _NAMES or (home.startswith(_HOMES) and not home.startswith(_NOT_HOMES))


def _is_tensor_function(name: str) -> bool:
    import torch

    functions = vars(torch._C)["_VariableFunctions"]
    package, _, function = name.partition(".")
    return package == "torch" and function != "from_file" and hasattr(functions, function)


def _is_method(found: Any) -> bool:
    """Such as ``from_pretrained``: what hangs on a class is not judged with it."""
    name = getattr(found, "__qualname__", "")
    bound = inspect.isfunction(found) or inspect.ismethod(found) or inspect.ismethoddescriptor(found)
    return bound and "." in name and "<locals>" not in name


def _is_number_type(found: Any) -> bool:
    import numpy as np

    return isinstance(found, type) and issubclass(found, np.generic)


def _is_part(found: Any) -> bool:
    """Ours: networks and transforms only."""
    from monai.transforms import Transform
    from torch import nn

    return isinstance(found, type) and issubclass(found, (nn.Module, Transform))
