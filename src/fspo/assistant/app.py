"""The assistant's server, put together: guards, interface, page, and errors in one form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from fspo import __version__
from fspo.assistant import api, page
from fspo.assistant.answering import AT_ONCE, Answers
from fspo.assistant.backend import Backend
from fspo.assistant.callers import Callers, Refused
from fspo.assistant.pairs import Pairs
from fspo.assistant.profiles import Profiles
from fspo.errors import FspoError, ServerError
from fspo.llm.sampling import Sampling
from fspo.preferences.records import Preference
from fspo.web.database import Database
from fspo.web.faults import TOLD, log_fault
from fspo.web.guards import add_guards
from fspo.web.logs import log
from fspo.web.pages import add_static

_LONGEST_REQUEST = 2_000_000  # bytes
_REQUESTS_A_MINUTE = 600


def create_app(
    backend: Backend,
    database: Database,
    pairs: Sequence[Preference] = (),
    sampling: Sampling | None = None,
    requests_a_minute: int = _REQUESTS_A_MINUTE,
    needs_keys: bool = False,
    answers_at_once: int = AT_ONCE,
) -> FastAPI:
    """The application.

    Args:
        backend: writes the answers.
        database: where profiles and keys are kept.
        pairs: what can be asked about; without, only the person's own questions are.
        sampling: how answers are drawn where a request does not say.
        requests_a_minute: of one address, at most.
        needs_keys: serve nobody without a key, even if the last one was revoked by now.
        answers_at_once: that are written, or ranked; more are told to come back.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(database.close)  # a signal that ended the server ends it for good

    app = FastAPI(
        title="fspo", version=__version__, lifespan=running, docs_url=None, redoc_url=None
    )
    callers = Callers(database, needs_keys)
    assistant = api.Assistant(
        backend,
        Profiles(database),
        Pairs(backend, pairs),
        callers,
        sampling or Sampling(),
        Answers(answers_at_once),
    )
    app.include_router(api.routes(assistant))
    app.include_router(page.routes(assistant))
    add_static(app, page.HERE)
    _add_errors(app)
    add_guards(app, _LONGEST_REQUEST, requests_a_minute, not callers.need_keys())
    return app


def _add_errors(app: FastAPI) -> None:
    def told(status: int, message: str, code: str = "") -> JSONResponse:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if status == 429 else kind
        error = {"message": message, "type": kind, "param": None, "code": code or None}
        headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}.get(status)
        return JSONResponse({"error": error}, status, headers)

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> JSONResponse:
        return told(error.status, error.message, error.code)

    @app.exception_handler(ServerError)
    def not_answered(_: Request, error: ServerError) -> JSONResponse:
        if error.status >= 500:
            log(error.logged)
        return told(error.status, error.public)

    @app.exception_handler(FspoError)
    def at_fault(_: Request, error: FspoError) -> JSONResponse:
        return told(400, str(error))

    @app.exception_handler(SQLAlchemyError)
    def database(_: Request, error: SQLAlchemyError) -> JSONResponse:
        log_fault(error)
        return told(503, TOLD)

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> JSONResponse:
        return told(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        return told(400, f"{field or 'the request'}: {first['msg']}")
