"""vLLM on this machine's GPU: its server is started when something is first asked, and stopped.

vLLM batches requests as they come, so that a server which is asked many things at once is all that
it takes to keep a GPU busy; the server of another machine is reached with `kind: openai`.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from fspo.console import say
from fspo.errors import FspoError
from fspo.llm.endpoint import Endpoint
from fspo.llm.meter import Meter
from fspo.llm.requests import Reply, Request

LONGEST_START = 1800.0  # seconds: a large model is read, and compiled
_LOOK_EVERY = 0.5


class Vllm:
    """A model that vLLM serves."""

    def __init__(self, model: str, *, concurrency: int, timeout: float, meter: Meter) -> None:
        """Nothing is started until something is asked.

        Args:
            model: a hub id or a folder.
            concurrency: how many requests are on the wire at once.
            timeout: seconds to wait for an answer.
            meter: counts what is asked.
        """
        self._model = model
        self._concurrency = concurrency
        self._timeout = timeout
        self._meter = meter

    @property
    def name(self) -> str:
        """The model's name; where its server happens to listen is no part of it."""
        return f"{self._model} on vllm"

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Reply]]]:
        """Yields replies as they come.

        Raises:
            FspoError: if vLLM is not installed, or its server does not start or stops.
        """
        if requests:
            yield from self._endpoint.answer(requests)

    @cached_property
    def _endpoint(self) -> Endpoint:
        program = shutil.which("vllm")
        if program is None:
            raise FspoError(
                "`kind: vllm` needs vLLM and a GPU: install the extra with "
                "`pip install 'fspo[vllm]'`, or reach a server with `kind: openai`"
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        key = secrets.token_hex(16)
        log = tempfile.NamedTemporaryFile(prefix="fspo-vllm-", suffix=".log")  # noqa: SIM115
        say(f"Starting vLLM with {self._model}: {log.name} says how it goes")
        process = subprocess.Popen(
            [program, "serve", self._model, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | {"VLLM_API_KEY": key},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        atexit.register(_stop, process)
        _wait(process, port, log)
        return Endpoint(
            self._model,
            api_key=key,
            base_url=f"http://127.0.0.1:{port}/v1",
            concurrency=self._concurrency,
            timeout=self._timeout,
            meter=self._meter,
        )


def _wait(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    """Until the server is ready."""
    end = time.monotonic() + LONGEST_START
    while process.poll() is None and time.monotonic() < end:
        try:
            # Without the environment's proxy, which does not reach this machine.
            with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(_LOOK_EVERY)
    _stop(process)
    said = Path(log.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise FspoError(f"vLLM's server did not start; at last it said: {(said or ['nothing'])[-1]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server with all of its processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
