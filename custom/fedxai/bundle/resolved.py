# SPDX-License-Identifier: Apache-2.0
"""A bundle's training configuration with its macros and relative ids resolved, as MONAI would, from memory only."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

from fedxai.bundle.reading import read_config, strings
from fedxai.errors import BundleError

_FILE_MACRO = re.compile(r"^%(.*\.(?:json|ya?ml))(?:(?:#|::)(.*))?$", re.IGNORECASE)
_PASSES = 5


def resolved_config(folder: Path, config: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Macros (``%id``, ``%file#id``) replaced by what they name, ``@##id`` by ``@id``, ``a#b`` keys by nested ones.

    Raises:
        BundleError: when a macro names a file outside the bundle, or an id that is not there.
    """
    from monai.bundle import ConfigParser
    from monai.bundle.utils import merge_kv

    merged = ConfigParser(config={})
    for key, value in config.items():
        merge_kv(merged, key, _with_files(folder, deepcopy(value)))
    values = {**merged.get(), "_meta_": {}}
    try:
        for _ in range(_PASSES):
            parser = ConfigParser(config=deepcopy(values))
            parser.resolve_macro_and_relative_ids()
            if parser.get() == values:
                if any(text.startswith("%") for _, text in strings(values)):
                    raise ValueError("a macro that names itself")
                return {**values, "_meta_": metadata}
            values = parser.get()
    except (KeyError, ValueError, IndexError, RecursionError) as error:
        raise BundleError(f"bundle {folder.name}: a macro or relative id of its configuration leads nowhere") from error
    raise BundleError(f"bundle {folder.name}: the macros of its configuration do not come to an end")


def _with_files(folder: Path, value: Any) -> Any:
    """Replace macros that name a file by that file's content; only files of the bundle."""
    if isinstance(value, dict):
        return {key: _with_files(folder, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_files(folder, item) for item in value]
    named = _FILE_MACRO.match(value) if isinstance(value, str) else None
    if named is None:
        return value
    file = (folder / named[1]).resolve()
    if not file.is_relative_to((folder / "configs").resolve()):
        raise BundleError(f"bundle {folder.name}: macro {value[:80]!r} names a file outside the bundle's configs")
    found: Any = read_config(file)
    for key in re.split(r"#|::", named[2]) if named[2] else ():
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise BundleError(f"bundle {folder.name}: macro {value[:80]!r} leads nowhere") from error
    if any(_FILE_MACRO.match(text) for _, text in strings(found)):
        raise BundleError(f"bundle {folder.name}: macro {value[:80]!r} leads to another file's macro")
    return found
