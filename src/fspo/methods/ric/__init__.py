"""RiC, Rewards-in-Context: a model that is told how much of what is to be in its answer."""

from __future__ import annotations

from fspo.methods.declaration import Declaration

SCALES = "scales.json"  # beside the policy


METHOD = Declaration(title="Rewards-in-Context (RiC)", label=lambda settings: "RiC")
