"""Many people in a study at the same time, over HTTP: how long a page takes, and is all there?

    python benchmarks/load.py [--people 500] [--minutes 5] [--database URL] [--kills N]

The server runs in a process of its own, with models that answer at once. Each synthetic participant
walks through the whole study, with pauses such that it takes so many minutes; some send a choice
twice. In the end every row of the database is compared with what was chosen. With `--kills` the
server is killed (SIGKILL) so many times while they answer, and started again; nothing may be lost
or doubled by that, and what takes longest is then the restart. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from fspo.assistant.backend import Backend
from fspo.study.definition import Study
from fspo.study.reading import Pools, read_study
from fspo.study.simulate import Crowd, MarkedBackend, compared, dealt
from fspo.web.database import open_database

EXAMPLE = Path(__file__).parents[1] / "src" / "fspo" / "study" / "example.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--database", help="default: SQLite, in a temporary folder")
    parser.add_argument("--kills", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = args.database or str(Path(folder) / "load.db")
        found = measure(args.people, args.minutes * 60, where, args.kills)
    print(json.dumps({"machine": machine(), **found}, indent=2))
    if not found["agrees"]:
        sys.exit(1)


def measure(people: int, seconds: float, where: str, kills: int = 0) -> dict[str, Any]:
    """Serves and walks; the seconds of requests as percentiles, in milliseconds."""
    study, _ = _study()
    database = open_database(where)
    wins, plans = dealt(study, [0.682] * len(study.comparisons), people, np.random.default_rng(0))
    port, server = serving(where)
    steps = study.label_pairs + study.judge_questions + 6  # consent, practice, the last questions
    patience = 60.0 if kills else 0.0
    crowd = Crowd(study, port, plans, seed=0, pause=seconds / steps, patience=patience)
    start = time.monotonic()
    try:
        with ThreadPoolExecutor(people) as threads:
            walking = [threads.submit(crowd.take_part, number) for number in range(people)]
            for number in range(kills):
                time.sleep(
                    max(0.0, start + seconds * (number + 1) / (kills + 1) - time.monotonic())
                )
                server.kill()
                server.join()
                _, server = serving(where, port)
            said = [one.result() for one in walking]
    finally:
        server.terminate()
        server.join()
    spent = time.monotonic() - start
    took = np.array(crowd.seconds) * 1000
    result = compared(study, database, said, wins)
    return {
        "database": database.engine.dialect.name,
        "people": people,
        "seconds": round(spent, 1),
        "requests": len(took),
        "requests_a_second": round(len(took) / spent, 1),
        "sent_twice": crowd.sent_twice,
        "kills": kills,
        "milliseconds": {
            f"p{share}": round(float(np.percentile(took, share)), 1) for share in (50, 90, 99, 99.9)
        }
        | {"longest": round(float(took.max()), 1)},
        "agrees": result["agrees"],
        "rows": result["rows"],
    }


def serving(where: str, port: int = 0) -> tuple[int, BaseProcess]:
    """A server in another process, and its port (0: a free one), once it answers."""
    if not port:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(where, port))
    server.start()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return port, server
    raise RuntimeError("the server does not answer")


def _study() -> tuple[Study, dict[str, Pools]]:
    """The study that `fspo study new` writes, whose participants need not take their time."""
    study, pools = read_study(EXAMPLE)
    limits = study.limits.model_copy(update={"min_seconds": 0})
    return study.model_copy(update={"limits": limits}), pools


def _serve(where: str, port: int) -> None:
    import uvicorn

    from fspo.study.app import create_app

    study, pools = _study()
    backends: dict[str, Backend] = {name: MarkedBackend(name) for name in study.methods}
    app = create_app(study, pools, open_database(where), backends, requests_a_minute=10**9)
    uvicorn.run(app, port=port, log_level="error", access_log=False, backlog=4096)


if __name__ == "__main__":
    main()
