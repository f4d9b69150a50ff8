"""The participant's pages: consent, practice, pairs to label, blind pairs to judge, last questions.

The server decides what is shown. Every form leads back to the participant's own address, which
shows the current step, whatever was sent. Nothing in a page depends on which method wrote what.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from fspo.study.cleaning import clean
from fspo.study.definition import Language
from fspo.study.steps import Step
from fspo.study.store import Recruited, Store
from fspo.study.tables import Participant
from fspo.web.pages import render
from fspo.web.sessions import csrf_fits, csrf_token, new_token, set_cookie

HERE = Path(__file__).parent
COOKIE = "fspo_visit"
_PARAMETERS = {
    "PROLIFIC_PID": "prolific_pid",
    "STUDY_ID": "study_id",
    "SESSION_ID": "session_id",
}
_PID = re.compile(r"[A-Za-z0-9_-]{0,256}")
_LONGEST_REPLY = 5000  # characters


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that are text."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


Fields = Annotated[dict[str, str], Depends(form_of)]


def routes(store: Store, wake: Callable[[], None]) -> APIRouter:
    """The pages.

    Args:
        store: of the study.
        wake: is called when answers may have been queued.
    """
    router = APIRouter(include_in_schema=False)
    pages = _Pages(store)

    @router.get("/")
    def entry(request: Request) -> Response:
        if not _names_somebody(request.query_params):
            return pages.message(pages.language_of(request.query_params), "link", 400)
        visit, recruited = request.cookies.get(COOKIE, ""), _recruited(request.query_params)
        if visit and store.find(_link_token(visit, recruited)):
            return _to(_link_token(visit, recruited))
        return pages.consent(request, request.query_params)

    @router.post("/consent")
    def consent(request: Request, fields: Fields) -> Response:
        visit, recruited = request.cookies.get(COOKIE, ""), _recruited(fields)
        language = pages.language_of(fields)
        if not visit or not csrf_fits(visit, fields.get("csrf", "")):
            return pages.message(language, "expired", 403)
        if not _names_somebody(fields):
            return pages.message(language, "link", 400)
        if fields.get("agree") != "yes":
            return pages.consent(request, fields, status=400)
        token = _link_token(visit, recruited)
        if not store.begin(token, language, recruited):
            return pages.message(language, "taken", 409)
        wake()
        return _to(token)

    @router.get("/p/{token}")
    def current(token: str, soon: str = "") -> Response:
        participant = store.find(token)
        if participant is None:
            return pages.message(pages.first, "lost", 404)
        return pages.step(participant, token, store.step(participant), bool(soon))

    @router.get("/p/{token}/ready")
    def ready(token: str) -> Response:
        participant = store.find(token)
        if participant is None:
            return JSONResponse({}, 404)
        step = store.peek(participant)
        waiting = step.kind in ("waiting", "introduction")
        return JSONResponse({"ready": not waiting, "made": step.made, "wanted": step.wanted})

    @router.get("/p/{token}/withdraw")
    def leave(token: str) -> Response:
        participant = store.find(token)
        if participant is None:
            return pages.message(pages.first, "lost", 404)
        return pages.page(participant.language, "withdraw.html", token=token)

    @router.post("/p/{token}/{action}")
    def act(token: str, action: str, fields: Fields) -> Response:
        participant = store.find(token)
        if participant is None:
            return pages.message(pages.first, "lost", 404)
        if not csrf_fits(token, fields.get("csrf", "")):
            return pages.message(participant.language, "expired", 403)
        if action == "withdraw":
            store.withdraw(participant)
            erased = store.database.erased
            return pages.message(participant.language, "withdrawn" if erased else "withdrawn_soon")
        kept = _act(store, participant, action, fields)
        wake()
        return _to(token, "?soon=1" if kept == "too_soon" else "")

    return router


def no_page(store: Store, status: int) -> Response:
    """Returns what is shown at an address that does not exist."""
    pages = _Pages(store)
    return pages.message(pages.first, "lost", status)


def failed(store: Store) -> Response:
    """Returns the page where the database fails: nothing was kept, and trying again is safe."""
    pages = _Pages(store)
    return pages.message(pages.first, "failed", 503)


def _act(store: Store, participant: Participant, action: str, fields: Mapping[str, str]) -> str:
    if action == "continue":
        store.go_on(participant, fields.get("step", ""))
    if action == "replies":
        store.reply(participant, _replies(store.study.languages[participant.language], fields))
    place = fields.get("place", "")
    if action == "answer" and place.isascii() and place.isdigit() and len(place) < 6:
        return store.answer(participant, int(place), fields.get("choice", ""))
    return ""


class _Pages:
    """Renders pages in the participant's language."""

    def __init__(self, store: Store) -> None:
        self._store, self._study = store, store.study
        self.first = next(iter(store.study.languages))

    def language_of(self, values: Mapping[str, str]) -> str:
        language = values.get("lang", "")
        return language if language in self._study.languages else self.first

    def page(self, language: str, template: str, status: int = 200, **values: Any) -> Response:
        own = self._study.languages[language]
        csrf = csrf_token(values["token"]) if "token" in values else ""
        words = self._study.wording(language)
        common = {"language": language, "own": own, "words": words, "csrf": csrf}
        common |= {"contact": self._study.contact, "skip_text": words["skip"]}
        return render(HERE, template, status, **common | values)

    def message(self, language: str, kind: str, status: int = 200) -> Response:
        words = self._study.wording(language)
        gone = kind in ("withdrawn", "withdrawn_soon")
        title, note = (words["done"], words[kind]) if gone else (words[kind], words[f"{kind}_note"])
        return self.page(language, "message.html", status, heading=title, note=note)

    def consent(self, request: Request, values: Mapping[str, str], status: int = 200) -> Response:
        visit = request.cookies.get(COOKIE, "") or new_token()
        kept = {name: clean(values.get(name, ""), 256) for name in _PARAMETERS}
        response = self.page(
            self.language_of(values),
            "consent.html",
            status,
            csrf=csrf_token(visit),
            kept={name: value for name, value in kept.items() if value},
            languages={code: own.title for code, own in self._study.languages.items()},
            refused=status != 200,
        )
        # A recruitment platform's link is followed from elsewhere, which "strict" would not allow.
        set_cookie(request, response, COOKIE, visit, same_site="lax")
        return response

    def step(self, participant: Participant, token: str, step: Step, soon: bool) -> Response:
        values: dict[str, Any] = {"token": token, "step": step}
        if step.kind == "item":
            return self.page(participant.language, "item.html", soon=soon, **values)
        if step.kind == "done":
            values["completion"] = self._study.completion
        return self.page(participant.language, f"{step.kind}.html", **values)


def _names_somebody(values: Mapping[str, str]) -> bool:
    """Returns whether a platform's id for a person is one, where there is any.

    Anything else is a link that was not filled in, or one to begin a second time with.
    """
    return _PID.fullmatch(values.get("PROLIFIC_PID", "")) is not None


def _recruited(values: Mapping[str, str]) -> Recruited:
    found = {own: clean(values.get(name, ""), 256) for name, own in _PARAMETERS.items()}
    return Recruited(**found)


def _link_token(visit: str, recruited: Recruited) -> str:
    """The token of the link of whoever visits: two clicks on "start" begin only once."""
    who = f"{recruited.prolific_pid}\n{recruited.study_id}"
    return hmac.new(visit.encode(), f"participant\n{who}".encode(), hashlib.sha256).hexdigest()


def _replies(language: Language, fields: Mapping[str, str]) -> dict[str, str]:
    """Returns what was answered at the end: one of the choices, or free text."""
    found = {ask.name: clean(fields.get(f"ask_{ask.name}", ""), _LONGEST_REPLY)
             for ask in language.asks}  # fmt: skip
    choices = {ask.name: ask.choices for ask in language.asks}
    return {name: value for name, value in found.items()
            if not choices[name] or value in choices[name]}  # fmt: skip


def _to(token: str, query: str = "") -> Response:
    return RedirectResponse(f"/p/{token}{query}", 303)
