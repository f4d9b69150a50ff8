"""Writing as it comes: what `save_preferences` would write, and nothing at all if it fails."""

import json
import tracemalloc
from pathlib import Path

import pytest

from fspo.errors import FspoError
from fspo.preferences.reading import load_preferences
from fspo.preferences.records import Preference, Preferences, User
from fspo.preferences.streaming import stream_preferences
from fspo.preferences.writing import save_preferences

COLUMNS = {"topic": "string", "probability": "float64"}


def preference(number: int) -> Preference:
    extra = {"topic": f"topic {number % 3}", "probability": number / 100_000}
    return Preference(f"question {number}", f"yes {number}", f"no {number}", extra=extra)


def test_it_writes_what_saving_writes(tmp_path):
    by_user = {u: [preference(n) for n in range(k, k + 5)] for k, u in enumerate(("ann", "bob"))}
    users = [User(u, f"{u} likes it short.", {"level": 1}, "train") for u in by_user]
    save_preferences(Preferences(by_user, users), tmp_path / "saved", "# Card")
    with stream_preferences(tmp_path / "streamed", COLUMNS) as stream:
        for user_id, own in by_user.items():
            stream.add(user_id, own)
        stream.finish(users, "# Card", {"checks.json": b"{}"})
    saved, streamed = (load_preferences(tmp_path / name) for name in ("saved", "streamed"))
    assert saved.by_user == streamed.by_user
    assert saved.users == streamed.users
    cards = [(tmp_path / name / "README.md").read_text() for name in ("saved", "streamed")]
    assert cards[0] == cards[1]
    assert (tmp_path / "streamed" / "checks.json").read_bytes() == b"{}"


def test_the_hubs_library_opens_it_as_it_is(tmp_path):
    datasets = pytest.importorskip("datasets")
    with stream_preferences(tmp_path / "d", COLUMNS) as stream:
        stream.add("ann", [preference(n) for n in range(25_000)])
        stream.finish([User("ann", "Ann.", {}, "train")], "# Card", {})
    cache = str(tmp_path / "cache")
    table = datasets.load_dataset(str(tmp_path / "d"), split="train", cache_dir=cache)
    assert table.num_rows == 25_000
    assert table[24_999]["chosen"] == "yes 24999"
    users = datasets.load_dataset(str(tmp_path / "d"), "users", split="train", cache_dir=cache)
    assert json.loads(users[0]["attributes"]) == {}


def test_a_million_rows_need_no_more_memory_than_a_few(tmp_path):
    with stream_preferences(tmp_path / "d", COLUMNS) as stream:
        peaks = []
        for _ in range(4):
            tracemalloc.start()
            for part in range(40):
                stream.add("ann", [preference(n) for n in range(part * 1000, part * 1000 + 1000)])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        stream.finish([User("ann")], "# Card", {})
    assert stream.count == 160_000
    assert max(peaks[1:]) < 1.2 * peaks[0]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_failure_leaves_the_old_dataset_and_nothing_else(tmp_path, moment):
    save_preferences(Preferences({"ann": [preference(1), preference(2)]}), tmp_path / "d", "# Old")
    old = {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()}

    def write() -> None:
        with stream_preferences(tmp_path / "d", COLUMNS) as stream:
            if moment == "after":
                stream.add("ann", [preference(n) for n in range(20_000)])
                raise FspoError("no space")
            stream.finish([], "# Card", {})

    with pytest.raises(FspoError, match=r"no space|no preferences"):
        write()
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == old
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with (
        pytest.raises(FspoError, match=r"something else than preferences, such as cat\.png"),
        stream_preferences(tmp_path / "photos", COLUMNS),
    ):
        pass
    assert [path.name for path in Path(tmp_path / "photos").iterdir()] == ["cat.png"]


def test_half_characters_from_a_model_are_told(tmp_path):
    def write() -> None:
        with stream_preferences(tmp_path / "d", COLUMNS) as stream:
            stream.add("ann", [Preference("q", "half \ud800", "no", extra={})])
            stream.finish([User("ann")], "# Card", {})

    with pytest.raises(FspoError, match=r"half a character.*'half \\ud800'"):
        write()
