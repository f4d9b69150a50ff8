"""The trained policy that is bundled with fspo, and how a policy is found by name."""

from __future__ import annotations

from pathlib import Path

BUNDLED = Path(__file__).parent / "policies" / "fspo-reviews"


def policy_folder(name: str | Path) -> Path:
    """Returns a policy's folder: the one of that path, or else the bundled one of that name."""
    return BUNDLED if str(name) == BUNDLED.name and not Path(name).exists() else Path(name)
