"""The study's server, put together: guards, the participant's pages, the researcher's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fspo.assistant.backend import Backend
from fspo.study import flow, researcher
from fspo.study.definition import Study
from fspo.study.queue import Queue
from fspo.study.reading import Pools
from fspo.study.store import Store
from fspo.study.worker import Worker
from fspo.web.database import Database
from fspo.web.faults import log_fault
from fspo.web.guards import add_guards
from fspo.web.pages import add_static

_LONGEST_REQUEST = 200_000  # bytes


def create_app(
    study: Study,
    pools: Mapping[str, Pools],
    database: Database,
    backends: Mapping[str, Backend],
    threads: int = 1,
    requests_a_minute: int = 600,
) -> FastAPI:
    """The application; answers are written while it runs.

    Args:
        study: what is asked.
        pools: what is drawn from, by language.
        database: where everything is kept: one study in a database.
        backends: who answers, by the method's name.
        threads: how many answers are written at once.
        requests_a_minute: of one address, at most; people in one room may share theirs.

    Raises:
        FspoError: if the database holds another study.
    """
    store = Store(database, study, pools)
    worker = Worker(Queue(database), study, backends, threads)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await run_in_threadpool(worker.stop)
        await run_in_threadpool(database.close)

    app = FastAPI(lifespan=running, openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(researcher.routes(store))
    app.include_router(flow.routes(store, worker.wake))
    add_static(app, flow.HERE)

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> Response:
        return flow.no_page(store, error.status_code)

    @app.exception_handler(SQLAlchemyError)
    def failed(_: Request, error: SQLAlchemyError) -> Response:
        log_fault(error)
        return flow.failed(store)

    only_here = not researcher.has_researcher(database)
    add_guards(app, _LONGEST_REQUEST, requests_a_minute, only_here)
    return app
