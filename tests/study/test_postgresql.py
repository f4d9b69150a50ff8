"""The same study in a real PostgreSQL, where transactions run side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import postgresql
from sqlalchemy import inspect

from fspo.study.records import read_records
from fspo.study.simulate import simulate
from fspo.study.store import Recruited, Store
from fspo.web.database import Base, Database, open_database


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgresql(tmp_path_factory.mktemp("study")) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[Database]:
    where = str(tmp_path / "s.db")
    if request.param == "postgresql":
        where = request.getfixturevalue("url")
    found = open_database(where)
    with found.writing() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    yield found
    found.engine.dispose()


def test_the_migrations_make_what_the_tables_say(database):
    found = inspect(database.engine)
    own = [t for t in Base.metadata.sorted_tables if t.name.startswith("study_")]
    assert len(own) == 10
    for table in own:
        columns = {c["name"]: c for c in found.get_columns(table.name)}
        assert set(columns) == set(table.columns.keys())
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, column
        keys = {tuple(c["column_names"]) for c in found.get_unique_constraints(table.name)}
        wanted = {
            tuple(c.columns.keys())
            for c in table.constraints
            if type(c).__name__ == "UniqueConstraint"
        }
        assert keys == wanted, table.name


def test_people_who_begin_at_once_have_numbers_of_their_own(database, start, definition):
    running = start(definition)
    store = Store(database, running.study, running.pools)

    def begin(number: int) -> bool:
        # Everybody clicks twice, and two of them are the same person on two machines.
        who = Recruited(prolific_pid=str(min(number, 22)), study_id="s")
        first = store.begin(f"token {number}", "en", who)
        assert store.begin(f"token {number}", "en", who) == first
        return first

    with ThreadPoolExecutor(8) as threads:
        begun = list(threads.map(begin, range(24)))
    assert sum(begun) == 23
    people = read_records(database).people
    assert sorted(person.number for person in people) == list(range(23))
    assert len(read_records(database).items) == 23 * 22


def test_a_choice_that_many_send_at_once_is_kept_once(database, start, definition):
    running = start(definition)
    store = Store(database, running.study, running.pools)
    store.begin("token", "en", Recruited())
    participant = store.find("token")
    store.go_on(participant, "instructions")
    for place in range(10):
        store.step(store.find("token"))
        sides = ["left", "right"] * 4
        with ThreadPoolExecutor(8) as threads:
            kept = list(threads.map(lambda s, p=place: store.answer(participant, p, s), sides))
        assert kept.count("kept") == 1
        [item] = [i for i in read_records(database).items if i.place == place]
        assert item.choice == sides[kept.index("kept")]
    assert store.find("token").labeled is not None
    assert read_records(database).answers_by_state == {"queued": 22}


def test_a_simulated_study(database, start, definition):
    running = start(definition)
    assert simulate(running.study, running.pools, database, [0.6], 4)["agrees"]
