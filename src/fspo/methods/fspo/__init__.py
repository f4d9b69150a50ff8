"""FSPO and all that a preference objective trains the same way: Pref-FT, IPO without users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo.methods.declaration import Declaration


def _label(settings: Mapping[str, Any]) -> str:
    objective = settings.get("objective", "ipo")
    if objective == "sft":
        return "Pref-FT"
    return "FSPO" if settings.get("shots", 8) else f"{objective.upper()} without users"


METHOD = Declaration(
    title="few-shot preference optimization (FSPO)",
    label=_label,
    chats=True,
)
