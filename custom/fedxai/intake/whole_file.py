# SPDX-License-Identifier: Apache-2.0
"""The name under which intake's files, and label/'s, are written whole: :mod:`fedxai.whole_file`."""

from fedxai.whole_file import write_whole

__all__ = ["write_whole"]
