"""What tests start for themselves: a real PostgreSQL, and a real web server on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fspo.web.serving import in_thread

# Nobody listens there: what is tried here needs no model.
NO_MODEL = ["--server", "http://127.0.0.1:9/v1", "--server-model", "none"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of an application that is really served, from a thread of this process."""
    with in_thread(app) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own; it refuses to run as root, so root steps down."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        pytest.skip("PostgreSQL is not installed; `make test` installs it where it can")
    data = folder / "data"
    data.mkdir()
    prefix: list[str] = []
    if os.getuid() == 0:
        prefix = ["runuser", "-u", "postgres", "--"]
        for above in (data, *data.parents):  # it must be able to get there
            if above.owner() == "root" and str(above) not in ("/", "/tmp"):
                above.chmod(above.stat().st_mode | 0o011)
        shutil.chown(data, "postgres")
    tools, port = programs[-1].parent, str(free_port())
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*prefix, tools / "initdb", "-D", data, "-U", "fspo", "-A", "trust"], **run)
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
    control = [*prefix, tools / "pg_ctl", "-D", data, "-w", "-l", data / "log"]
    subprocess.run([*control, "-o", options, "start"], **run)
    try:
        yield f"postgresql://fspo@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)


class Served:
    """`fspo serve` on a free port, with what it logged."""

    def __init__(self, database: str, log: Path) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, "-m", "fspo", "serve", *NO_MODEL, "--database", database]
        command += ["--port", str(self.port), "--requests-a-minute", "1000000"]
        with log.open("a") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        self.url = f"http://127.0.0.1:{self.port}"
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx2.get(self.url + "/login")
                return
            except httpx2.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"it does not answer: {log.read_text()}")

    def end(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)
