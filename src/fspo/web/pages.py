"""Pages of both applications: one Jinja environment that escapes everything, and static files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from fastapi import FastAPI
    from jinja2 import Environment

_HERE = Path(__file__).parent


def render(room: Path, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from a room's `templates/`, which may extend the common `base.html`.

    Args:
        room: the room's folder.
        template: the file's name.
        status: of the response.
        values: for the template; all of them are escaped, whoever wrote them.
    """
    page = _environment((room / "templates", _HERE / "templates")).get_template(template)
    return HTMLResponse(page.render(**values), status)


def add_static(app: FastAPI, room: Path) -> None:
    """Serves the common `static/` at /static/web, and the room's own at /static/<room>."""
    from starlette.staticfiles import StaticFiles

    app.mount("/static/web", StaticFiles(directory=_HERE / "static"))
    app.mount(f"/static/{room.name}", StaticFiles(directory=room / "static"))


@cache
def _environment(folders: Sequence[Path]) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(list(folders)),
        autoescape=True,  # for every name, not for those that end in .html alone
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
