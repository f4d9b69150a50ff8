"""A run that is killed at any moment and started again writes what an uninterrupted one writes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from small_domain import write_domain

KILLS = int(os.environ.get("FSPO_KILLS", "3"))

PROGRAM = """
import sys, time
from pathlib import Path
from fspo.domains.described import load_described
from fspo.llm.pretend import Pretend, pretend_embedder
from fspo.llm.store import CachedModel, Store
from fspo.recipe import EngineRecipe
from fspo.synthesis.engine import make
from fspo.synthesis.stage import Cast
from fspo.judging.model_judge import model_labeller

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
slowness = float(sys.argv[3])

class Slow(Pretend):
    def answer(self, requests):
        for start in range(0, len(requests), 8):
            time.sleep(slowness)
            for group in super().answer(requests[start:start + 8]):
                yield [(start + place, reply) for place, reply in group]

domain = load_described(str(folder))
recipe = EngineRecipe(domain=str(folder), users=40, questions=30, answers_per_question=4,
                      preferences_per_user=12, refinements=3, grown_users=0.2)
model = CachedModel(Slow(), Store(out.with_name(out.name + ".replies.sqlite")))
make(recipe, domain, Cast(model, model, model_labeller(model, domain.guidelines)),
     pretend_embedder, out, 0)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def start(folder: Path, out: Path, slowness: float) -> subprocess.Popen:
    arguments = [sys.executable, "-c", PROGRAM, str(folder), str(out), str(slowness)]
    return subprocess.Popen(arguments, stderr=subprocess.DEVNULL)


def test_kill_9_at_random_moments_changes_no_byte(tmp_path):
    folder = write_domain(tmp_path / "tiny")
    began = time.monotonic()
    assert start(folder, tmp_path / "whole", 0.002).wait() == 0
    whole_run = time.monotonic() - began
    moments = random.Random(0)
    for kill in range(KILLS):
        out = tmp_path / f"killed-{kill}"
        for _ in range(2):
            process = start(folder, out, 0.002)
            time.sleep(moments.uniform(0.3, 1.0) * whole_run)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert start(folder, out, 0.0).wait() == 0
        assert contents(out) == contents(tmp_path / "whole")
