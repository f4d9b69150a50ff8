"""Serves a study whose answers are there at once, until it is killed: FILE DATABASE PORT."""

import sys
from pathlib import Path

import uvicorn

from fspo.study.app import create_app
from fspo.study.reading import read_study
from fspo.study.simulate import MarkedBackend
from fspo.web.database import open_database

if __name__ == "__main__":
    study, pools = read_study(Path(sys.argv[1]))
    backends = {name: MarkedBackend(name) for name in study.methods}
    database = open_database(sys.argv[2])
    app = create_app(study, pools, database, backends, requests_a_minute=1_000_000)
    uvicorn.run(app, port=int(sys.argv[3]), log_level="error", access_log=False)
