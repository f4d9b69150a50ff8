"""The pages: the assistant, which works through the interface; signing in; documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from fspo.assistant.api import Assistant
from fspo.assistant.callers import COOKIE, ME, user_of
from fspo.assistant.keys import ROOM, caller_of
from fspo.web.pages import render
from fspo.web.sessions import (
    csrf_fits,
    csrf_token,
    digest,
    from_elsewhere,
    login_form,
    set_cookie,
    sign_in,
    sign_out,
)

HERE = Path(__file__).parent
_HOURS = 24 * 14


def routes(assistant: Assistant) -> APIRouter:
    """The pages; none of them is part of the interface's documentation."""
    router = APIRouter(include_in_schema=False)
    database = assistant.callers.database

    @router.get("/")
    def page(request: Request) -> Response:
        caller = assistant.callers.on_page(request)
        if caller is None:
            return RedirectResponse("/login", 303)
        token = request.cookies.get(COOKIE, "")
        return render(
            HERE,
            "assistant.html",
            user=user_of(caller, None) or ME,
            csrf=csrf_token(token) if token else "",
            signed_in=bool(token),
            model=assistant.models()[0],
            describes=assistant.backend.abilities.describes,
        )

    @router.get("/docs")
    def docs(request: Request) -> Response:
        return render(HERE, "docs.html", paths=request.app.openapi()["paths"])

    @router.get("/login")
    def login(request: Request) -> Response:
        return login_form(render(HERE, "login.html", wrong=""))

    @router.post("/login")
    def enter(request: Request, key: Annotated[str, Form(max_length=1000)] = "") -> Response:
        if from_elsewhere(request):
            told = "This form was sent by another site; sign in here."
            return login_form(render(HERE, "login.html", 403, wrong=told))
        subject = digest(key.strip())
        if caller_of(database, subject) is None:
            told = "This key is not known here."
            return login_form(render(HERE, "login.html", 401, wrong=told))
        response = RedirectResponse("/", 303)
        set_cookie(request, response, COOKIE, sign_in(database, ROOM, subject, _HOURS))
        return response

    @router.post("/logout")
    def leave(request: Request, csrf: Annotated[str, Form(max_length=100)] = "") -> Response:
        token = request.cookies.get(COOKIE, "")
        if token and csrf_fits(token, csrf):
            sign_out(database, token)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    return router
