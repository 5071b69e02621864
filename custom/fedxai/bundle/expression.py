# SPDX-License-Identifier: Apache-2.0
"""Read one ``$`` expression of a configuration as syntax: every name, attribute and call must be on an allow list."""

import ast
from collections.abc import Iterator, Mapping

from fedxai.bundle.allowed import LISTS, downloads, locates, problem_of, reach_of

REFERENCES = "__local_refs"  # what MONAI puts in the place of @id before it evaluates
DEFAULT_NAMES = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
BUILTINS, _ATTRIBUTES = frozenset(LISTS["builtins"]), frozenset(LISTS["attributes"])
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Slice, ast.Call,
    ast.keyword, ast.Starred, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.IfExp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.comprehension, ast.Lambda, ast.arguments, ast.arg, ast.JoinedStr, ast.FormattedValue,
)  # fmt: skip

Judged = tuple[str | None, str | None]
"""A problem, or what is reached outside the allow list."""


def imported(text: str) -> tuple[str, str] | None:
    """The name that an expression's import binds and what it binds, as MONAI reads it; None: it is no import.

    Raises:
        ValueError: when the text is not Python, or more than one import stands in it.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("is not a Python expression") from error
    first = body[0] if body else None
    if not isinstance(first, (ast.Import, ast.ImportFrom)):
        return None
    if len(body) > 1 or len(first.names) > 1:
        raise ValueError("holds more than one import")
    name = first.names[0]
    if isinstance(first, ast.ImportFrom):
        if first.level or name.name == "*":
            raise ValueError("imports relatively or everything")
        return name.asname or name.name, f"{first.module}.{name.name}"
    return name.asname or name.name, name.name


def judge(text: str, names: Mapping[str, str], *, strict: bool) -> Iterator[Judged]:
    """Problems and reaches of an expression, references already in the form that is evaluated.

    Args:
        text: the expression without ``$``.
        names: what imports bind, by name.
        strict: whether it runs at a site; then nothing outside the allow list passes.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield "is not a Python expression", None
        return
    known = {**DEFAULT_NAMES, **names}
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    hidden = bound & (set(known) | BUILTINS | {REFERENCES})
    if hidden:
        yield f"gives the known name {sorted(hidden)[0]} another meaning", None
    yield from _Reader(known, frozenset(bound), strict).read(tree)


class _Reader:
    def __init__(self, known: Mapping[str, str], bound: frozenset[str], strict: bool) -> None:
        self._known, self._bound, self._strict = known, bound, strict

    def read(self, node: ast.AST) -> Iterator[Judged]:
        if not isinstance(node, _NODES):
            yield f"{type(node).__name__} is not allowed in an expression", None
            return
        if isinstance(node, (ast.Attribute, ast.Name)):
            yield from self._named(node)
            return
        if isinstance(node, ast.Call):
            yield from self._call(node)
        for child in ast.iter_child_nodes(node):
            yield from self.read(child)

    def _named(self, node: ast.Attribute | ast.Name) -> Iterator[Judged]:
        name = self._dotted(node)
        if name is not None:
            yield from self._outside(name)
        elif isinstance(node, ast.Name):
            if node.id not in self._bound | BUILTINS | {REFERENCES}:
                yield from self._outside(node.id)
        else:
            if node.attr.startswith("_") or (self._strict and node.attr not in _ATTRIBUTES):
                yield f"attribute .{node.attr} is not on the allow list", None
            yield from self.read(node.value)

    def _outside(self, name: str) -> Iterator[Judged]:
        """Judge a dotted name by the lists."""
        problem = problem_of(name)
        reached = None if self._strict or not problem else reach_of(name)
        if problem:
            yield (None, reached) if reached else (problem, None)

    def _dotted(self, node: ast.AST) -> str | None:
        """The full name of an attribute chain that starts at a module; None for any other."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self._bound or node.id not in self._known:
            return None
        return ".".join([self._known[node.id], *reversed(parts)])

    def _call(self, node: ast.Call) -> Iterator[Judged]:
        name = self._dotted(node.func)
        if not self._strict or name is None:
            return
        given = {word.arg or "**": getattr(word.value, "value", word.value) for word in node.keywords}
        if locates(name) or "**" in given:
            yield f"{name} may stand as a _target_ only, with its arguments spelt out", None
        if downloads(name, given):
            yield f"{name} would download weights", None
