"""The researcher's pages: signing in, how the study is going, the result, deleting somebody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import ColumnElement, exists, select
from starlette.responses import RedirectResponse, Response

from fspo.errors import FspoError
from fspo.study.analysis import analyze
from fspo.study.flow import Fields
from fspo.study.live import live
from fspo.study.records import read_records
from fspo.study.store import Store
from fspo.study.tables import Participant, Researcher
from fspo.web.addresses import network_of
from fspo.web.database import Database, now
from fspo.web.pace import Pace
from fspo.web.pages import render
from fspo.web.sessions import (
    Busy,
    csrf_fits,
    csrf_token,
    end_sign_ins,
    from_elsewhere,
    hash_password,
    login_form,
    password_fits,
    set_cookie,
    sign_in,
    sign_out,
    signed_in,
)

HERE = Path(__file__).parent
COOKIE, ROOM = "fspo_researcher", "study"
_HOURS = 12
_TRIES_A_MINUTE = 10
_SHORTEST_PASSWORD = 12
_NO_NAME = re.compile("[\x00\ud800-\udfff]")


def set_password(database: Database, name: str, password: str) -> None:
    """Lets somebody see the researcher's pages, or changes their password and signs them out.

    Raises:
        FspoError: if the name is empty or too long, or the password is short.
    """
    if not 0 < len(name) <= 64:
        raise FspoError("researcher: give a name of 1 to 64 characters")
    if _NO_NAME.search(name):
        raise FspoError("researcher: the name holds a null character, or half of one")
    if len(password) < _SHORTEST_PASSWORD:
        raise FspoError(f"password: give at least {_SHORTEST_PASSWORD} characters")
    hashed = hash_password(password)
    with database.writing() as session:
        session.merge(Researcher(name=name, password=hashed))
        end_sign_ins(session, ROOM, name)


def remove(database: Database, name: str) -> None:
    """Takes somebody's access away, and signs them out at once.

    Raises:
        FspoError: if there is no such researcher.
    """
    with database.writing() as session:
        found = session.get(Researcher, name)
        if found is None:
            names = ", ".join(sorted(session.scalars(select(Researcher.name)))) or "nobody"
            raise FspoError(f"there is no researcher {name!r}; there is {names}")
        session.delete(found)
        end_sign_ins(session, ROOM, name)


def has_researcher(database: Database) -> bool:
    """Returns whether anybody can sign in."""
    with database.reading() as session:
        return bool(session.scalar(select(exists().select_from(Researcher))))


def routes(store: Store) -> APIRouter:
    """The pages below /researcher."""
    router = APIRouter(prefix="/researcher", include_in_schema=False)
    database, tries = store.database, Pace(_TRIES_A_MINUTE)

    def name_of(request: Request) -> str | None:
        return signed_in(database, ROOM, request.cookies.get(COOKIE, ""))

    def form(wrong: str, status: int = 200) -> Response:
        return login_form(render(HERE, "login.html", status, wrong=wrong))

    @router.get("/login")
    def login() -> Response:
        return form("")

    @router.post("/login")
    def enter(request: Request, fields: Fields) -> Response:
        name = _NO_NAME.sub("", fields.get("name", ""))[:64]
        if from_elsewhere(request):
            return form("This form was sent by another site; sign in here.", 403)
        if tries.wait([network_of(request), f"name {name}"]):
            return form("Too many tries; wait a minute.", 429)
        try:
            known = _fits(database, name, fields.get("password", ""))
        except Busy:
            return form("Too many people sign in just now; wait a minute.", 429)
        if known is None:
            return form("This name and password do not fit.", 401)
        token = sign_in(database, ROOM, name, _HOURS, still=_holds(name, known))
        if token is None:  # removed, or given another password, in between
            return form("This name and password do not fit.", 401)
        response = RedirectResponse("/researcher", 303)
        set_cookie(request, response, COOKIE, token)
        return response

    @router.get("")
    def overview(request: Request) -> Response:
        name = name_of(request)
        if name is None:
            return RedirectResponse("/researcher/login", 303)
        csrf = csrf_token(request.cookies[COOKIE])
        found = live(read_records(database), now())
        values: dict[str, Any] = {"live": found, "study": store.study, "erased": database.erased}
        return render(HERE, "researcher.html", name=name, csrf=csrf, **values)

    @router.get("/results")
    def results(request: Request) -> Response:
        name = name_of(request)
        if name is None:
            return RedirectResponse("/researcher/login", 303)
        found = analyze(store.study, read_records(database))
        return render(HERE, "results.html", name=name, found=found, study=store.study)

    @router.post("/{action}")
    def act(request: Request, action: str, fields: Fields) -> Response:
        token = request.cookies.get(COOKIE, "")
        if name_of(request) is None or not csrf_fits(token, fields.get("csrf", "")):
            return RedirectResponse("/researcher/login", 303)
        response = RedirectResponse("/researcher", 303)
        if action == "logout":
            sign_out(database, token)
            response.delete_cookie(COOKIE)
        if action == "delete":
            _delete(store, fields.get("number", ""))
        return response

    return router


def _delete(store: Store, number: str) -> None:
    if not (number.isascii() and number.isdigit() and len(number) < 9):
        return
    with store.database.reading() as session:
        found = session.scalar(select(Participant).where(Participant.number == int(number)))
    if found is not None:
        store.withdraw(found)


def _fits(database: Database, name: str, password: str) -> str | None:
    """The stored hash that this password fits, if it is the researcher's."""
    with database.reading() as session:
        found = session.get(Researcher, name)
    if found is None:
        hash_password(password)  # takes as long as comparing, so that names cannot be found out
        return None
    return found.password if password_fits(password, found.password) else None


def _holds(name: str, hashed: str) -> ColumnElement[bool]:
    """That somebody still has the password that was compared."""
    same = (Researcher.name == name) & (Researcher.password == hashed)
    return exists().where(same)
