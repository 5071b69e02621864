# SPDX-License-Identifier: Apache-2.0
"""What every record is made of: frozen fields, names, counts, and figures rounded with their n."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

DECIMALS = 4

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _finite_or_none(value: Any) -> Any:
    """NaN and infinity mean "undefined": they become None, so that no JSON ever holds them."""
    if value is None:
        return None
    number = float(value)
    return round(number, DECIMALS) if math.isfinite(number) else None


Scalar = Annotated[float | None, BeforeValidator(_finite_or_none)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """A frozen, closed record: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Record):
    """A scalar rounded to 4 decimals, its n, and its 95 % interval; ``None`` where undefined."""

    value: Scalar
    n: Count
    low: Scalar = None
    high: Scalar = None
