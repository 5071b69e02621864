# SPDX-License-Identifier: Apache-2.0
"""A private folder to unpack an export into; what a killed run left of one goes when the next run begins."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import gettempdir

from fedxai.errors import CohortError
from fedxai.held_folder import held_folder

_PREFIX = "fedxai-unpacked-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Lend a folder in TMPDIR that only its owner can read; it goes when the block ends.

    Raises:
        CohortError: TMPDIR takes no folder.
    """
    with ExitStack() as holding:
        try:
            private = holding.enter_context(held_folder(Path(gettempdir()), _PREFIX))
        except OSError as error:
            raise CohortError(f"The temporary folder cannot be used: {error.strerror or error}; set TMPDIR.") from None
        yield private
