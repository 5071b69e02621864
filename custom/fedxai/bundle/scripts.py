# SPDX-License-Identifier: Apache-2.0
"""Scripts of a bundle: read as syntax before they run, and imported from the bundle's own folder only."""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from fedxai.bundle.allowed import LISTS, ROOTS, locates, problem_of, root_of
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
                waiting += [
                    found.name for found in _imports(_tree(file), bundle, file) if root_of(found.name) == PACKAGE
                ]
    return sorted(files)


def judge_script(bundle: Path, file: Path, *, runs: bool) -> Iterator[Finding]:
    """What a script imports, and what in it is outside the allow list; a script that does not run is listed only."""
    where, tree = file.relative_to(bundle).as_posix(), _tree(file)
    if tree is None:
        yield Finding(where=where, kind="script", what=where, runs=runs, problem="is not readable Python")
        return
    for found in _imports(tree, bundle, file):
        problem = _import_problem(bundle, found.name)
        place = f"{where}:{found.line}"
        yield Finding(
            where=place, kind="import", what=found.name, runs=runs,
            problem=problem if runs else None, reaches=None if runs or not problem else "outside the allow list",
        )  # fmt: skip
    for line, problem in dict.fromkeys(_Reader(bundle, file, tree).read()) if runs else ():
        yield Finding(where=f"{where}:{line}", kind="script", what=problem, runs=True, problem=problem)


def target_problem(bundle: Path, name: str) -> str | None:
    """Why a name under ``scripts`` is refused in a configuration: it must be what the bundle itself defines."""
    file = module_file(bundle, name)
    if file is not None and len(_within(bundle, file, name)) > 1:
        return f"{name} is not a class, function or value of the bundle's own"
    return _own_problem(bundle, name, imports=True)


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


@dataclass(frozen=True)
class _Import:
    bound: str  # the name in the script
    meant: str  # what it stands for there
    name: str  # what is imported
    line: int


def _imports(tree: ast.Module | None, bundle: Path, file: Path) -> Iterator[_Import]:
    """Everything that a script imports, by dotted names, relative ones spelt out."""
    package = list(file.relative_to(bundle).with_suffix("").parts)[:-1]
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = root_of(alias.name)
                meant = alias.name if alias.asname else root
                yield _Import(alias.asname or root, meant, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield _Import(alias.asname or alias.name, name, name, node.lineno)


def _import_problem(bundle: Path, name: str) -> str | None:
    if name.endswith(".*"):
        return f"{name} imports everything; name what you need"
    if name == _OPTIONAL_IMPORT:  # judged where it is called
        return None
    if root_of(name) == PACKAGE:
        return _own_problem(bundle, name, imports=True)
    refused = name.rpartition(".")[2] in _REFUSED["attributes"]
    return problem_of(name, imports=True) or (f"{name} may not be used in a script" if refused else None)


def _own_problem(bundle: Path, name: str, *, imports: bool, steps: int = 16) -> str | None:
    """Why a name under ``scripts`` is refused: it must lead to what one of the scripts defines, and nowhere else."""
    file = module_file(bundle, name)
    if file is None:
        return f"{name} is not in the bundle's scripts"
    rest, tree = _within(bundle, file, name), _tree(file)
    if not rest:
        return None if imports else f"{name} is a whole module; name what you need of it"
    if rest[0] in _defined(tree):
        return None
    for found in _imports(tree, bundle, file):
        if found.bound == rest[0] and root_of(found.meant) == PACKAGE and steps:
            return _own_problem(bundle, ".".join([found.meant, *rest[1:]]), imports=imports, steps=steps - 1)
    return f"{name} is not a class, function or value of the bundle's own"


def _within(bundle: Path, file: Path, name: str) -> list[str]:
    """What of a dotted name is left after the module of that file."""
    module = file.relative_to(bundle).with_suffix("").parts
    return name.split(".")[len(module) - (module[-1] == "__init__") :]


def _defined(tree: ast.Module | None) -> set[str]:
    """Names that a module gives a meaning of its own at its top level."""
    names: set[str] = set()
    for node in tree.body if tree is not None else ():
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {found.id for target in targets for found in ast.walk(target) if isinstance(found, ast.Name)}
    return names


class _Reader:
    """Reads a script for what it may not do; what a module is called must stand still, or nothing could be judged."""

    def __init__(self, bundle: Path, file: Path, tree: ast.Module) -> None:
        self._bundle, self._tree = bundle, tree
        self._imports = list(_imports(tree, bundle, file))
        self._names = {found.bound: found.meant for found in self._imports}

    def read(self) -> Iterator[tuple[int, str]]:
        """Line and problem of everything that is refused."""
        defined = {node.name for node in ast.walk(self._tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        for found in self._imports:
            if found.bound in defined or self._names[found.bound] != found.meant:
                yield found.line, f"gives the name {found.bound} two meanings"
        nodes = list(ast.walk(self._tree))
        inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        inner |= {id(node.func) for node in nodes if isinstance(node, ast.Call) and self._is_optional(node)}
        for node in nodes:
            for problem in self._problems(node, whole=id(node) not in inner):
                yield getattr(node, "lineno", 0), problem

    def _problems(self, node: ast.AST, *, whole: bool) -> Iterator[str]:
        """Of one node; the longest dotted name is judged, not its beginnings."""
        if isinstance(node, ast.Name) and (
            node.id in _REFUSED["names"] or (node.id.startswith("__") and node.id not in _MODULE_NAMES)
        ):
            yield f"{node.id} may not be used in a script"
        if isinstance(node, ast.Attribute) and (
            node.attr in _REFUSED["attributes"]
            or (node.attr.startswith("__") and node.attr not in _REFUSED["dunders_allowed"])
        ):
            yield f".{node.attr} may not be used in a script"
        if isinstance(node, ast.Call) and self._is_optional(node) and (problem := _optional(node)):
            yield problem
        if whole and isinstance(node, (ast.Attribute, ast.Name)) and (problem := self._named(node)):
            yield problem

    def _named(self, node: ast.AST) -> str | None:
        name = (self._dotted(node) or "").removesuffix(".__init__")
        if root_of(name) == PACKAGE:
            return _own_problem(self._bundle, name, imports=False)
        if root_of(name) not in ROOTS:
            return None
        return problem_of(name) or (f"{name} may stand as a _target_ only" if locates(name) else None)

    def _is_optional(self, node: ast.Call) -> bool:
        return self._dotted(node.func) == _OPTIONAL_IMPORT

    def _dotted(self, node: ast.AST) -> str | None:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._names:
            return None
        return ".".join([self._names[node.id], *reversed(parts)])


def _optional(node: ast.Call) -> str | None:
    """MONAI's optional import: of a name that is spelt out and on the list, never of a whole module."""
    given = [node.args[0] if node.args else None, *(word.value for word in node.keywords if word.arg == "name")]
    texts = [item.value for item in given if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    if len(texts) != 2 or len(node.args) > 1:
        return "optional_import needs a package and name= spelt out"
    return problem_of(".".join(texts))
