"""The assistant against requests made up from its own OpenAPI document, hostile ones among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from pretend_backend import PretendBackend
from schemathesis.checks import not_a_server_error

from fspo.assistant.app import create_app
from fspo.preferences.records import Preference
from fspo.web.database import open_database


def _app() -> Any:
    import tempfile

    folder = tempfile.mkdtemp(prefix="fspo-openapi-")
    database = open_database(str(Path(folder) / "a.db"))
    pool = [Preference(f"q{n}", "good", "bad") for n in range(3)]
    return create_app(PretendBackend(), database, pool, requests_a_minute=10**9)


schema = schemathesis.openapi.from_asgi("/openapi.json", _app(), headers={"Host": "localhost"})


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_it(case: Any) -> None:
    response = case.call(headers={"Host": "localhost"})
    case.validate_response(response, checks=[not_a_server_error])
    assert response.headers["content-security-policy"]
    if response.status_code >= 400:
        assert response.json()["error"]["message"]
