# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle: what runs gets a digest, and what could run behind the reader's back is refused."""

import configparser
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from fedxai.bundle.allowed import PACKAGES
from fedxai.bundle.findings import Finding
from fedxai.file_digest import sha256

_CODE = ("configs", "scripts")
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin")
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill")
_BINARIES = (".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".exe")
_STARTERS = ("sitecustomize.py", "usercustomize.py", "conftest.py")
_LOGGING = {"class": ("StreamHandler", "logging.StreamHandler"), "args": ("(sys.stdout,)", "(sys.stderr,)", "()")}


def digest(folder: Path) -> str:
    """SHA-256 over names and bytes of every file that runs."""
    total = hashlib.sha256()
    for file in code_files(folder):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def code_files(folder: Path) -> list[Path]:
    """What runs of a bundle: the files of ``configs/`` and ``scripts/`` but for Python's own caches."""
    files = [file for part in _CODE for file in sorted((folder / part).rglob("*"))]
    return [file for file in files if file.is_file() and "__pycache__" not in file.parts]


def weights_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of weights, by its path in the bundle."""
    digests: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix.lower() in (*_WEIGHTS, ".ts"):
            digests[file.relative_to(folder).as_posix()] = sha256(file)
    return digests


def judge_files(folder: Path) -> Iterator[Finding]:
    """Links, shadows, compiled code, pickles and logging set-ups."""
    for above, folders, files in os.walk(folder, followlinks=False):
        for name in sorted((*folders, *files)):
            path = Path(above) / name
            where = path.relative_to(folder).as_posix()
            kind, problem, reaches = _judge(folder, path)
            if problem or reaches:
                weights = kind == "weights"
                yield Finding(
                    where=where,
                    kind="weights" if weights else "file",
                    what=name,
                    runs=False,
                    reaches=reaches,
                    problem=problem,
                )


def _judge(folder: Path, path: Path) -> tuple[str, str | None, str | None]:
    """Kind, problem and reach of one file or folder."""
    suffix = path.suffix.lower()
    problem = reach = None
    kind = "weights" if suffix in (*_WEIGHTS, *_PICKLES, ".ts") else "file"
    if path.is_symlink():
        problem = "is a link; a bundle holds its files itself"
    elif path.is_dir() or suffix == ".py":
        problem = _shadow(folder, path)
    elif suffix in _BINARIES:
        problem = "is compiled code, which cannot be read"
    elif suffix in _PICKLES:
        problem = "is a pickle, which runs code when it is read"
    elif suffix == ".ts":
        reach = "TorchScript, which is not read here"
    elif suffix in _WEIGHTS:
        problem, reach = _weights(path)
    elif path.name.startswith("logging") and suffix in (".conf", ".ini", ".cfg"):
        problem = _logging(path)
    return kind, problem, reach


def _shadow(folder: Path, path: Path) -> str | None:
    """A module that Python would take for an installed one, if the bundle's folder were on its search path."""
    if path.name in _STARTERS:
        return "would run when Python starts"
    name = path.stem if path.suffix == ".py" else path.name
    is_module = path.suffix == ".py" or any(path.glob("*.py"))
    if not is_module or not name.isidentifier():
        return None
    known = name in PACKAGES or name in sys.stdlib_module_names
    if known and path.parent.name not in ("docs",) and (path.parent == folder or name in PACKAGES):
        return f"shadows the installed module {name}"
    if path.parent == folder and name != "scripts" and importlib.util.find_spec(name) is not None:
        return f"shadows the installed module {name}"
    return None


def _weights(path: Path) -> tuple[str | None, str | None]:
    """Whether weights hold tensors only, read from the pickle's opcodes without running them."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        unsafe = get_unsafe_globals_in_checkpoint(str(path))
    except ValueError as error:
        script = "torchscript" in str(error)
        return (None, "TorchScript, which is not read here") if script else ("is not a checkpoint of tensors", None)
    except OSError:
        return "cannot be read", None
    except Exception:  # whatever a spoilt file makes the disassembler say, it is no checkpoint
        return "is not a checkpoint of tensors", None
    return (f"holds more than tensors: {', '.join(sorted(unsafe)[:3])}" if unsafe else None), None


def _logging(path: Path) -> str | None:
    """Python evaluates the handlers of a logging file; only the console is let through."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, OSError, UnicodeDecodeError):
        return "is not a readable logging file"
    for section in parser.sections():
        for key, allowed in _LOGGING.items():
            value = parser.get(section, key, fallback=None)
            if value is not None and value.replace(" ", "") not in allowed:
                return f"its {section} has {key} {value[:60]!r}; logging files may write to the console only"
    return None
