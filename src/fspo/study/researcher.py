"""The researcher's pages: signing in, how the study is going, the result, deleting somebody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import exists, select
from starlette.responses import RedirectResponse, Response

from fspo.errors import FspoError
from fspo.study.analysis import analyze
from fspo.study.flow import Fields
from fspo.study.live import live
from fspo.study.records import read_records
from fspo.study.store import Store
from fspo.study.tables import Participant, Researcher
from fspo.web.database import Database, now
from fspo.web.pages import render
from fspo.web.sessions import (
    csrf_fits,
    csrf_token,
    hash_password,
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


def set_password(database: Database, name: str, password: str) -> None:
    """Lets somebody see the researcher's pages, or changes their password.

    Raises:
        FspoError: if the name is empty or too long, or the password is short.
    """
    if not 0 < len(name) <= 64:
        raise FspoError("researcher: give a name of 1 to 64 characters")
    if len(password) < _SHORTEST_PASSWORD:
        raise FspoError(f"password: give at least {_SHORTEST_PASSWORD} characters")
    with database.writing() as session:
        session.merge(Researcher(name=name, password=hash_password(password)))


def has_researcher(database: Database) -> bool:
    """Whether anybody can sign in."""
    with database.reading() as session:
        return bool(session.scalar(select(exists().select_from(Researcher))))


def routes(store: Store) -> APIRouter:
    """The pages below /researcher."""
    router = APIRouter(prefix="/researcher", include_in_schema=False)
    database, tries = store.database, _Tries()

    def name_of(request: Request) -> str | None:
        return signed_in(database, ROOM, request.cookies.get(COOKIE, ""))

    @router.get("/login")
    def login() -> Response:
        return render(HERE, "login.html", wrong="")

    @router.post("/login")
    def enter(request: Request, fields: Fields) -> Response:
        name = fields.get("name", "")
        if not tries.allowed(request.client.host if request.client else ""):
            return render(HERE, "login.html", 429, wrong="Too many tries; wait a minute.")
        if not _fits(database, name, fields.get("password", "")):
            return render(HERE, "login.html", 401, wrong="This name and password do not fit.")
        response = RedirectResponse("/researcher", 303)
        set_cookie(request, response, COOKIE, sign_in(database, ROOM, name, _HOURS))
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


def _fits(database: Database, name: str, password: str) -> bool:
    with database.reading() as session:
        found = session.get(Researcher, name[:64].replace("\x00", ""))
    if found is None:
        hash_password(password)  # takes as long as comparing, so that names cannot be found out
        return False
    return password_fits(password, found.password)


class _Tries:
    """A password may be tried only so often in a minute."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def allowed(self, address: str) -> bool:
        moment = time.monotonic()
        recent = [t for t in self._times.get(address, ()) if moment - t < 60]
        self._times = {a: ts for a, ts in self._times.items() if moment - ts[-1] < 60}
        if len(recent) >= _TRIES_A_MINUTE:
            return False
        self._times[address] = [*recent, moment]
        return True
