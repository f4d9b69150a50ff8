"""Baselines by name, at every number of shots."""

from __future__ import annotations

import numpy as np

from fspo import Preference, Preferences, User
from fspo.methods.baselines import baselines
from fspo.methods.baselines.simple import Longer, Majority

TRAINING = Preferences(
    {f"u{n}": [Preference(f"q{k}", "a longer answer", "short") for k in range(3)] for n in range(4)}
)


def test_each_count_sees_only_its_shots() -> None:
    shots = TRAINING.by_user["u0"]
    targets = [Preference("q9", "a longer answer", "short"), Preference("q9", "x", "x y z")]
    found = list(baselines(["majority", "longer", "factors"], TRAINING, seed=0))
    assert [predictor.name for predictor in found] == ["majority", "longer", "factors"]
    for predictor, alone in zip(found, (Majority(TRAINING), Longer(TRAINING)), strict=False):
        odds = predictor.log_odds(User("new"), shots, targets, [0, 2, 3])
        expected = [alone.log_odds(shots[:k], targets, User("new")) for k in (0, 2, 3)]
        np.testing.assert_array_equal(odds, np.stack(expected))
