"""Progress: how much is done, and how long the rest takes at the pace so far."""

from __future__ import annotations

import pytest

from fspo import console


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that `track` reads, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def lines(clock, groups, capsys, total=300) -> list[str]:
    """What is said of groups that take so many seconds and hold so many items."""

    def work():
        for seconds, items in groups:
            clock[0] += seconds
            yield [None] * items

    for _ in console.track(work(), "writing", total, len):
        pass
    return capsys.readouterr().err.splitlines()


def test_a_batch_counts_as_a_whole(clock, capsys):
    # 32 in 96 s: 3 s each, and 268 are left.
    assert lines(clock, [(96, 32), (96, 32)], capsys) == [
        "writing: 32 of 300, about 804 s left",
        "writing: 64 of 300, about 708 s left",
    ]


def test_what_an_earlier_run_kept_says_no_pace(clock, capsys):
    assert lines(clock, [(0.1, 200), (40, 20)], capsys) == ["writing: 220 of 300, about 160 s left"]


def test_a_line_every_fifteen_seconds(clock, capsys):
    said = lines(clock, [(1, 1)] * 45, capsys)
    assert [line.split(":")[1].split(" of")[0].strip() for line in said] == ["15", "30", "45"]


def test_single_items_are_counted(clock, capsys):
    for _ in console.track([20], "reading", 2):
        clock[0] += 20
    assert capsys.readouterr().err.splitlines() == ["reading: 1 of 2, about 20 s left"]
