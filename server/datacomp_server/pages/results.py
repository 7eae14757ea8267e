"""Results of stages, as they were stored."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from datacomp.messages import StageResult

RESULTS: TypeAdapter[StageResult] = TypeAdapter(StageResult)


def result_of(raw: dict[str, Any] | None) -> StageResult | None:
    """The stage's result; None also for one stored by a newer version, of which the page shows nothing."""
    if raw is None:
        return None
    try:
        return RESULTS.validate_python(raw)
    except ValidationError:
        return None
