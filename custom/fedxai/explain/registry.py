# SPDX-License-Identifier: Apache-2.0
"""A dictionary of extensions by name: one decorator adds, an unknown name lists the known ones."""

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from fedxai.errors import ExplanationError

T = TypeVar("T")
Entry = TypeVar("Entry", bound=type[Any])


class Registry(Generic[T]):
    """Classes by their ``name`` attribute; made without arguments when asked for by name.

    An entry with ``variants``, settings by suffix, is also made with each of them: under ``name_suffix``. These names
    are known like the others, and are not listed one by one.

    Args:
        kind: what the entries are, as it stands in messages ("saliency method").
        base: the class every entry extends.

    Example:
        >>> from fedxai.explain import METHODS
        >>> METHODS.make("saliency").name
        'saliency'
    """

    def __init__(self, *, kind: str, base: type[T]) -> None:
        self.kind = kind
        self._base = base
        self._classes: dict[str, type[T]] = {}
        self._variants: dict[str, tuple[type[T], Mapping[str, Any]]] = {}

    def register(self, entry: Entry) -> Entry:
        """Decorator: add a class under its ``name``.

        Raises:
            ExplanationError: when it does not extend the base, has no name, or the name is taken.
        """
        name, variants = getattr(entry, "name", None), getattr(entry, "variants", {})
        if not issubclass(entry, self._base) or not isinstance(name, str):
            raise ExplanationError(
                f"a {self.kind} must extend {self._base.__name__} and have a name, got {entry.__name__}"
            )
        known = self._classes | {of: taken for of, (taken, _) in self._variants.items()}
        for made in (name, *(f"{name}_{suffix}" for suffix in variants)):
            if made in known:
                taken = f"{known[made].__module__}.{known[made].__qualname__}"
                raise ExplanationError(f"{self.kind} {made!r} is {taken} already; choose another")
        self._classes[name] = entry
        self._variants |= {f"{name}_{suffix}": (entry, settings) for suffix, settings in variants.items()}
        return entry

    def discover(self, package: str, path: Iterable[str]) -> None:
        """Import every module of a package, so that each registers what it defines."""
        for module in pkgutil.iter_modules(path):
            import_module(f"{package}.{module.name}")

    def make(self, name: str) -> T:
        """A new entry of that name, with its default settings or those of the variant.

        Raises:
            ExplanationError: when the name is unknown; the known ones are listed.
        """
        if name in self._variants:
            entry, settings = self._variants[name]
            return entry(**settings)
        if name not in self._classes:
            raise ExplanationError(f"unknown {self.kind} {name!r}; choose from {', '.join(self)}")
        return self._classes[name]()

    @property
    def names(self) -> frozenset[str]:
        """Every name that :meth:`make` knows, variants too."""
        return frozenset((*self._classes, *self._variants))

    def __iter__(self) -> Iterator[str]:
        """The entries' own names, in alphabetical order."""
        return iter(sorted(self._classes))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self._classes)
