"""The store: what was said is found again, whole or not at all, whatever happens to the disk."""

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from conftest import byte_tokenizer, small_model
from hypothesis import given
from hypothesis import strategies as st

from fspo.errors import FspoError
from fspo.llm.build import Builder
from fspo.llm.meter import Budget
from fspo.llm.requests import Reply, Request, ask
from fspo.llm.store import CachedModel, Store
from fspo.recipe import ModelRecipe

texts = st.text(st.characters())  # half characters and control characters, too
replies = st.builds(
    Reply,
    texts,
    texts,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.lists(st.floats(0, 1), max_size=3).map(tuple),
)
requests = st.builds(
    Request,
    messages=st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(tuple),
    max_tokens=st.integers(1, 100),
    temperature=st.floats(0, 2),
    seed=st.integers(0, 2**31),
    choices=st.sampled_from([(), ("A", "B")]),
)


class Counting:
    """Says what it is asked, and counts."""

    name = "counting"

    def __init__(self, fails_at: int = 10**9) -> None:
        self.asked: list[Request] = []
        self.fails_at = fails_at

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        for start in range(0, len(requests), 2):
            places = range(start, min(start + 2, len(requests)))
            self.asked += [requests[place] for place in places]
            if len(self.asked) >= self.fails_at:
                raise FspoError("out of order")
            yield [(place, Reply(requests[place].messages[0][1], self.name)) for place in places]


def question(number: int, purpose: str = "") -> Request:
    return Request((("user", f"number {number}"),), 5, purpose=purpose)


def test_an_older_file_goes_on_and_new_replies_have_a_time(tmp_path):
    path = tmp_path / "replies.sqlite"
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE replies (key BLOB PRIMARY KEY, reply TEXT) WITHOUT ROWID")
        older.execute("INSERT INTO replies VALUES (?, ?)", (b"old", '["yes", "m", 1, 2, []]'))
    store = Store(path)
    before = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    store.put([(b"new", Reply("no", "m"))])
    assert {key: reply.text for key, reply in store.get([b"old", b"new"]).items()} == {
        b"old": "yes", b"new": "no",
    }  # fmt: skip
    store.close()
    rows = dict(sqlite3.connect(path).execute("SELECT key, answered FROM replies"))
    assert rows[b"old"] is None
    assert timedelta(0) <= datetime.fromisoformat(rows[b"new"]) - before < timedelta(minutes=1)
    Store(path).close()


@given(st.dictionaries(st.binary(min_size=16, max_size=16), replies, max_size=8))
def test_what_is_put_is_got(tmp_path_factory, said):
    path = tmp_path_factory.mktemp("store") / "replies.sqlite"
    store = Store(path)
    store.put(said.items())
    store.close()
    assert Store(path).get(list(said)) == said


@given(requests, requests)
def test_two_requests_have_one_key_only_if_they_ask_the_same(one, other):
    alike = one == other
    assert (one.key("model") == other.key("model")) == alike
    assert one.key("model") != one.key("another")
    assert one.key("model") != one.again(1).key("model")
    assert one.again(1).key("model") != one.again(2).key("model")


def test_the_same_request_is_asked_once_and_purposes_are_no_part_of_it(tmp_path):
    model, budget = Counting(), Budget()
    remembered = CachedModel(model, Store(tmp_path / "s"), budget)
    asked = [question(0), question(1), question(0, "again"), question(0)]
    assert [r.text for r in ask(remembered, asked)] == [f"number {n}" for n in (0, 1, 0, 0)]
    assert len(model.asked) == 2
    ask(remembered, [question(1, "labels"), question(2)])
    assert len(model.asked) == 3
    assert budget.purposes["labels"].answered == 1  # known, so that it is not reckoned with


def test_what_came_before_a_fault_is_kept_and_the_rest_is_asked_later(tmp_path):
    store = Store(tmp_path / "s")
    with pytest.raises(FspoError, match="out of order"):
        ask(CachedModel(Counting(fails_at=5), store), [question(n) for n in range(10)])
    assert len(store) == 4
    model = Counting()
    ask(CachedModel(model, store), [question(n) for n in range(10)])
    assert [request.messages[0][1] for request in model.asked] == [
        f"number {n}" for n in range(4, 10)
    ]


def test_a_full_disk_is_told_and_what_was_stored_is_kept(tmp_path):
    store = Store(tmp_path / "s")
    store.put([(question(0).key("m"), Reply("first", "m"))])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")  # the disk, as SQLite sees it
    long = [(question(n).key("m"), Reply("x" * 5000, "m")) for n in range(1, 50)]
    with pytest.raises(FspoError, match=r"is full. Free some space and run again.* is kept"):
        store.put(long)
    assert len(store) == 1  # all of a group or none
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.put(long)
    assert len(store) == 50
    assert store.get([question(0).key("m")]) == {question(0).key("m"): Reply("first", "m")}


def test_a_file_that_is_none_of_ours_and_a_damaged_one_are_told(tmp_path):
    (tmp_path / "text").write_text("These are not replies. " * 100)
    with pytest.raises(FspoError, match=r"text: this is not a file of replies"):
        Store(tmp_path / "text")
    with pytest.raises(FspoError, match="unable to open"):
        Store(tmp_path)
    store = Store(tmp_path / "s")
    store.put([(question(n).key("m"), Reply("x" * 500, "m")) for n in range(200)])
    store.close()
    whole = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(whole[:4096] + b"\x00" * (len(whole) - 4096))
    with pytest.raises(FspoError, match="damaged"):
        Store(tmp_path / "s").get([question(n).key("m") for n in range(200)])


def test_a_store_of_another_make_is_told(tmp_path):
    other = sqlite3.connect(tmp_path / "s")
    other.execute("CREATE TABLE replies (something TEXT)")
    other.commit()
    with pytest.raises(FspoError, match="no such column"):
        Store(tmp_path / "s").get([b"0" * 16])


def test_several_may_write_at_once(tmp_path):
    def write(part: int) -> None:
        store = Store(tmp_path / "s")
        for n in range(50):
            store.put([(question(n + part * 25).key("m"), Reply(f"{n + part * 25}", "m"))])
        store.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = Store(tmp_path / "s").get([question(n).key("m") for n in range(125)])
    assert sorted(int(reply.text) for reply in found.values()) == list(range(125))


def test_a_model_that_changed_in_its_folder_is_asked_anew(tmp_path):
    small_model().save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    recipe = ModelRecipe(model=str(tmp_path / "model"))
    counts = []
    for change in (None, None, "{{ messages[0]['content'] }}:"):
        if change:
            (tmp_path / "model" / "chat_template.jinja").write_text(change)
        builder = Builder(Store(tmp_path / "kept"))
        ask(builder.model(recipe), [question(1)])
        [meter] = builder.meters.values()
        counts.append(meter.requests)
    assert counts == [1, 0, 1]
