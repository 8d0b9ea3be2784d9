"""What every section of a configuration is: frozen, with numbers that are no truth values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


def _refuse_bool(kind: str) -> BeforeValidator:
    """Refuse true and false, which Python counts as 1 and 0."""

    def check(value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticCustomError(kind, "true and false are no numbers")
        return value

    return BeforeValidator(check)


Int = Annotated[int, _refuse_bool("int_type")]
Float = Annotated[float, _refuse_bool("float_type")]


class Section(BaseModel):
    """Frozen; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
