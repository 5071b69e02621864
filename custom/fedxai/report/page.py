# SPDX-License-Identifier: Apache-2.0
"""Pages that need nothing beside them: templates, inline style, pictures as data, no script."""

import base64
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedxai.report.reading import explained_quantity
from fedxai.report.tables import show, show_figure
from fedxai.report.verdict import marked
from fedxai.report.words import count, duration, in_a_sentence, number, plural, size, words


def render(template: str, **values: Any) -> bytes:
    """A template of ``report/templates`` filled in; every value is escaped."""
    return _environment().get_template(template).render(**values).encode()


def data_address(png: bytes) -> str:
    """A picture as a ``data:`` address, so that the page carries it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fedxai.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": count,
        "duration": duration,
        "explained_quantity": explained_quantity,
        "figure": show_figure,
        "in_a_sentence": in_a_sentence,
        "marked": marked,
        "number": number,
        "plural": plural,
        "show": show,
        "size": size,
        "words": words,
    }
    return environment
