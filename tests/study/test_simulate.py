"""Fifty synthetic participants over real HTTP end with exactly the numbers that were put in."""

from __future__ import annotations

import pytest

from fspo.errors import FspoError
from fspo.study.records import read_records
from fspo.study.simulate import simulate


@pytest.mark.timeout(300)
def test_fifty_people_by_eleven_questions(start, definition):
    running = start(definition)
    found = simulate(running.study, running.pools, running.database, [0.682], 50)
    assert found["agrees"]
    assert found["rows"] == 50 * 22
    assert found["sent_twice"] > 50
    [one] = found["comparisons"]
    assert (one["put_in"], one["found"], one["answers"]) == (375, 375, 550)
    assert one["win_rate"] == pytest.approx(68.18, abs=0.01)
    # The rows say so, too, without the analysis.
    items = read_records(running.database).items
    judged = [i for i in items if i.stage == "judge" and not i.is_check]
    assert sum(i.chosen_method == "personal" for i in judged) == 375
    assert len({(i.participant, i.place) for i in items}) == len(items) == 1100
    with pytest.raises(FspoError, match="people have taken part"):
        simulate(running.study, running.pools, running.database, [0.5], 2)


def test_several_comparisons(start, definition):
    definition["methods"]["SFT"] = {"answers": "personal"}
    definition["comparisons"] = [["personal", "base"], ["personal", "SFT"]]
    running = start(definition)
    found = simulate(running.study, running.pools, running.database, [0.9, 0.25], 6, seed=3)
    assert found["agrees"]
    assert [c["answers"] for c in found["comparisons"]] == [33, 33]
    assert [c["found"] for c in found["comparisons"]] == [round(0.9 * 33), round(0.25 * 33)]


def test_rates_have_to_fit(start, definition):
    running = start(definition)
    for rates in ([], [0.5, 0.5], [1.5]):
        with pytest.raises(FspoError, match="for each of: personal against base"):
            simulate(running.study, running.pools, running.database, rates, 2)
