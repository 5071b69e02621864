# SPDX-License-Identifier: Apache-2.0
"""Read a bundle before anything of it runs: every import, target and expression, judged by the allow list.

Nothing is executed and no script is imported. What is mapped for the engine is judged strictly, since it runs at a
site. Everything else of the bundle (data lists, handlers, multi-GPU settings) does not run here; it is listed, may
also name what published bundles name (file lists, the environment, checkpoints), and is refused beyond that.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedxai.bundle.allowed import component_name, downloads, problem_of, reach_of, root_of
from fedxai.bundle.expression import BUILTINS, DEFAULT_NAMES, imported, judge
from fedxai.bundle.files import judge_files
from fedxai.bundle.findings import Finding, Kind
from fedxai.bundle.reading import SUFFIXES, components, read_config, strings, train_config
from fedxai.bundle.scripts import PACKAGE, judge_script, needed_files, target_problem
from fedxai.errors import BundleError

_LOCATED = ("reader", "writer", "merger_cls")
"""Arguments by which MONAI's classes import whatever a string names."""


def audit(folder: Path, config: dict[str, Any]) -> list[Finding]:
    """All findings of a bundle.

    Args:
        folder: the bundle.
        config: what runs at a site: the mapped configuration and the region's transforms.
    """
    where = f"configs/{train_config(folder).name}"
    findings = list(judge_files(folder))
    reader = ConfigReader(folder, where, config, strict=True)
    findings += reader.findings()
    running = needed_files(folder, reader.scripts) if reader.scripts else []
    seen = {(finding.kind, finding.what) for finding in findings}
    listed, names = _others(folder)
    for file in listed:
        findings += [found for found in _other(folder, file, names) if (found.kind, found.what) not in seen]
    for file in sorted((folder / PACKAGE).rglob("*.py")):
        if not file.is_symlink():
            findings += judge_script(folder, file, runs=file in running)
    return findings


def refusal(name: str, findings: list[Finding]) -> str | None:
    """One sentence that says why a bundle is refused; None when it is not."""
    problems = [finding for finding in findings if finding.problem]
    if not problems:
        return None
    problems.sort(key=lambda finding: finding.kind == "import")  # what uses an import says more than the import
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"bundle {name} is refused: {first.where}: {first.problem}{more}; `fedxai bundle check` lists everything"


class ConfigReader:
    """Reads one configuration: strictly where it runs at a site, by the wider list where it does not."""

    def __init__(
        self, folder: Path, where: str, config: dict[str, Any], *, strict: bool, names: Mapping[str, str] | None = None
    ) -> None:
        self._folder, self._where, self._config, self._strict = folder, where, config, strict
        self.scripts: set[str] = set()
        self.names: dict[str, str] = dict(names or {})

    def findings(self) -> list[Finding]:
        """Imports first, since they say what the names in expressions mean."""
        expressions = [(at, text) for at, text in strings(self._config) if text.startswith("$")]
        found = [finding for at, text in expressions for finding in self._import(at, text)]
        bound = {text for _, text in expressions if _is_import(text)}
        found += [self._expression(at, text) for at, text in expressions if text not in bound]
        return found + [self._component(at, component) for at, component in components(self._config)]

    def _import(self, at: str, text: str) -> Iterator[Finding]:
        try:
            bound = imported(_effective(text))
        except ValueError as error:
            if "import" in str(error):
                yield self._finding(at, "import", text, str(error))
            return
        if bound is None:
            return
        alias, name = bound
        before = {**DEFAULT_NAMES, **self.names}.get(alias, name)
        if before == name:
            self.names[alias] = name
        if before != name or alias in BUILTINS:
            yield self._finding(at, "import", text, f"gives the known name {alias} another meaning")
        elif root_of(name) == PACKAGE:
            self.scripts.add(name)
            yield self._finding(at, "import", text, target_problem(self._folder, name) if self._strict else None)
        else:
            yield self._finding(at, "import", text, problem_of(name, imports=True), reach_of(name) or _harmless(name))

    def _expression(self, at: str, text: str) -> Finding:
        problems, reached = [], []
        for problem, reach in judge(_effective(text), self.names, strict=self._strict):
            kept = self._of_scripts(problem)
            problems += [kept] if kept else []
            reached += [reach] if reach else []
        reach = ", ".join(dict.fromkeys(reached)) or None
        return self._finding(at, "expression", text, problems[0] if problems else None, reach if not problems else None)

    def _of_scripts(self, problem: str | None) -> str | None:
        """A name under ``scripts`` is the bundle's own, and its script is read like everything else."""
        name = (problem or "").partition(" ")[0]
        if root_of(name) != PACKAGE:
            return problem
        self.scripts.add(name)
        return target_problem(self._folder, name) if self._strict else None

    def _component(self, at: str, component: dict[str, Any]) -> Finding:
        target = component["_target_"]
        if not isinstance(target, str) or target[:1] in ("$", "@", "%", ""):
            return self._finding(at, "target", str(target), "the _target_ must be spelt out")
        name = component_name(target)
        if root_of(name) == PACKAGE:
            self.scripts.add(name)
            problem = target_problem(self._folder, name) if self._strict else None
        else:
            problem = problem_of(name)
        reach = reach_of(name) if problem else None
        if self._strict:
            problem = problem or _arguments(name, component)
        return self._finding(f"{at}::_target_", "target", target, problem, reach)

    def _finding(self, at: str, kind: Kind, what: str, problem: str | None, reaches: str | None = None) -> Finding:
        """A problem that the wider list knows is only reached where it does not run."""
        if not self._strict and reaches:
            problem = None
        where = f"{self._where}: {at.replace('::', '#').removesuffix('#_target_')}"
        reaches = None if self._strict else reaches
        return Finding(where=where, kind=kind, what=what[:120], runs=self._strict, reaches=reaches, problem=problem)


class _Every(dict[str, Any]):
    def __contains__(self, _: object) -> bool:
        return True


def _effective(text: str) -> str:
    """An expression as MONAI evaluates it: ``#`` is ``::``, and references are look-ups."""
    from monai.bundle import ReferenceResolver

    return ReferenceResolver.update_refs_pattern(text, _Every())[1:]


def _is_import(text: str) -> bool:
    try:
        return imported(_effective(text)) is not None
    except ValueError as error:
        return "import" in str(error)


def _arguments(name: str, component: dict[str, Any]) -> str | None:
    """Arguments that would make an allowed class run something else."""
    if component.get("_mode_", "default") != "default" or "_debug_" in component:
        return "_mode_ and _debug_ must be left at their defaults"
    for key in _LOCATED:
        given = component.get(key)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and not (isinstance(value, str) and value.isidentifier()):
                return f"{key} must be the plain name of one of MONAI's own, got {str(value)[:60]!r}"
    return f"{name} would download weights" if downloads(name, component) else None


def _harmless(name: str) -> str | None:
    """Modules that published bundles import for their data lists and that do nothing when imported."""
    return "names" if name in ("os", "glob", "json", "datetime", "pathlib", "pandas", "logging", "copy") else None


def _others(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The other configurations, and the names that the training configuration's imports give to those laid over it."""
    files = [file for file in sorted((folder / "configs").rglob("*")) if file.suffix.lower() in SUFFIXES]
    reader = ConfigReader(folder, "", read_config(train_config(folder)), strict=False)
    reader.findings()
    return [file for file in files if file.name not in ("metadata.json", "explain.json")], reader.names


def _other(folder: Path, file: Path, names: Mapping[str, str]) -> list[Finding]:
    where = file.relative_to(folder).as_posix()
    if file.is_symlink() or not file.is_file():
        return []
    try:
        config = read_config(file)
    except BundleError as error:
        holds_list = "must hold a mapping" in str(error)
        problem = None if holds_list else str(error).partition(": ")[2]
        return [] if problem is None else [Finding(where=where, kind="file", what=where, runs=False, problem=problem)]
    return ConfigReader(folder, where, config, strict=False, names=names).findings()
