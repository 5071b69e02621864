# SPDX-License-Identifier: Apache-2.0
"""Scripts of a bundle: read as syntax before they run, and imported from the bundle's own folder only."""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from fedxai.bundle.allowed import LISTS, PACKAGES, PLAIN_MODULES, problem_of
from fedxai.bundle.findings import Finding

PACKAGE = "scripts"
_REFUSED: dict[str, list[str]] = LISTS["refused_in_scripts"]
_MODULE_NAMES = ("__all__", "__name__")
_OPTIONAL_IMPORT = "monai.utils.optional_import"


def module_file(bundle: Path, module: str) -> Path | None:
    """The file of a dotted module under ``scripts``, or of the module that holds that name."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        base = bundle.joinpath(*parts[:length])
        found = next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)
        if found:
            return found
    return None


def needed_files(bundle: Path, modules: set[str]) -> list[Path]:
    """Every script that importing these modules runs: their packages' ``__init__.py`` and what they import in turn."""
    waiting, files = sorted(modules), dict[Path, None]()
    while waiting:
        module = waiting.pop()
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            file = module_file(bundle, ".".join(parts[:length]))
            if file is not None and file not in files:
                files[file] = None
                waiting += [name for name, _ in _imports(_tree(file), bundle, file) if _root(name) == PACKAGE]
    return sorted(files)


def judge_script(bundle: Path, file: Path, *, runs: bool) -> Iterator[Finding]:
    """What a script imports, and what in it is outside the allow list; a script that does not run is listed only."""
    where, tree = file.relative_to(bundle).as_posix(), _tree(file)
    if tree is None:
        yield Finding(where=where, kind="script", what=where, runs=runs, problem="is not readable Python")
        return
    names: dict[str, str] = {}
    for name, node in _imports(tree, bundle, file):
        problem = _import_problem(name)
        place = f"{where}:{node.lineno}"
        yield Finding(
            where=place, kind="import", what=name, runs=runs,
            problem=problem if runs else None, reaches=None if runs or not problem else "outside the allow list",
        )  # fmt: skip
    names = _bindings(tree)
    for node in ast.walk(tree) if runs else ():
        problem = _problem(node, names)
        if problem:
            line = getattr(node, "lineno", 0)
            yield Finding(where=f"{where}:{line}", kind="script", what=problem, runs=True, problem=problem)


def target_problem(bundle: Path, name: str) -> str | None:
    """Why a name under ``scripts`` is refused: it must be a class or function that the bundle itself defines."""
    file = module_file(bundle, name)
    if file is None:
        return f"{name} is not in the bundle's scripts"
    module = file.relative_to(bundle).with_suffix("").parts
    rest = name.split(".")[len(module) - (module[-1] == "__init__") :]
    tree = _tree(file)
    body = tree.body if tree is not None else []
    defined = {node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    brought = {found.rpartition(".")[2] for found, _ in _imports(tree, bundle, file) if _root(found) == PACKAGE}
    if len(rest) > 1 or (rest and rest[0] not in defined | brought):
        return f"{name} is not a class or function of the bundle's own"
    return None


def make_importable(bundle: Path) -> None:
    """Let ``scripts`` mean this bundle's folder, whatever bundle came before; no folder is put on the search path."""
    sys.dont_write_bytecode = True  # compiled code in a bundle is refused, also if it is our own
    folder = bundle / PACKAGE
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None and list(getattr(loaded, "__path__", [])) == [str(folder)]:
        return
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    file = folder / "__init__.py"
    spec = (
        importlib.util.spec_from_file_location(PACKAGE, file, submodule_search_locations=[str(folder)])
        if file.is_file()
        else ModuleSpec(PACKAGE, None, is_package=True)
    )
    if spec is None:
        return
    spec.submodule_search_locations = [str(folder)]
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    if spec.loader is not None:
        spec.loader.exec_module(module)


def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return None


def _imports(tree: ast.Module | None, bundle: Path, file: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Every dotted name that a script imports, relative ones spelt out."""
    package = list(file.relative_to(bundle).with_suffix("").parts)[:-1]
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            yield from ((name.name, node) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{module}.{name.name}", node) for name in node.names)


def _import_problem(name: str) -> str | None:
    if _root(name) == PACKAGE or name == _OPTIONAL_IMPORT:  # judged where they stand and where it is called
        return None
    refused = name.rpartition(".")[2] in _REFUSED["attributes"]
    return problem_of(name) or (f"{name} may not be used in a script" if refused else None)


def _root(name: str) -> str:
    return name.partition(".")[0]


def _bindings(tree: ast.Module) -> dict[str, str]:
    """What the script's imports bind, by name; a name that is bound elsewhere too keeps its strictest meaning."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                bound = name.asname or name.name.split(".")[0]
                names[bound] = name.name if name.asname else bound
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
    return names


def _problem(node: ast.AST, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name) and (
        node.id in _REFUSED["names"] or (node.id.startswith("__") and node.id not in _MODULE_NAMES)
    ):
        return f"{node.id} may not be used in a script"
    if not isinstance(node, (ast.Attribute, ast.Call)):
        return None
    if isinstance(node, ast.Call):
        return _optional(node) if _dotted(node.func, names) == _OPTIONAL_IMPORT else None
    if node.attr in _REFUSED["attributes"] or (
        node.attr.startswith("__") and node.attr not in _REFUSED["dunders_allowed"]
    ):
        return f".{node.attr} may not be used in a script"
    name = (_dotted(node, names) or "").removesuffix(".__init__")
    return problem_of(name) if name and _root(name) in PLAIN_MODULES | set(PACKAGES) else None


def _optional(node: ast.Call) -> str | None:
    """MONAI's optional import: of a package that is spelt out and on the list."""
    first = node.args[0] if node.args else None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return "optional_import needs a package's name spelt out"
    root = first.value.split(".")[0]
    return None if root in PLAIN_MODULES | set(PACKAGES) else f"optional_import of {root} is not on the allow list"


def _dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])
