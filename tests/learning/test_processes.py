"""Training on several processes: the same as on one at the same global batch, and its faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer, small_model
from safetensors.torch import load_file

from fspo import Preference, Preferences, User
from fspo.learning.batch import passes
from fspo.learning.checkpoints import last_checkpoint
from fspo.learning.episodes import EpisodeDataset
from fspo.learning.train import train, training_data
from fspo.preferences.writing import save_preferences
from fspo.recipe import Lora, TrainRecipe

ADAPTER = "adapter_model.safetensors"
DDP = ("-m", "fspo")
FSDP2, ZERO2 = ((str(Path(__file__).with_name("sharding.py")), c) for c in ("fsdp2", "zero2"))
no_deepspeed = find_spec("deepspeed") is None
with_deepspeed = pytest.mark.skipif(no_deepspeed, reason="DeepSpeed: pip install deepspeed")
zero2 = pytest.param(ZERO2, marks=with_deepspeed, id="zero2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, and users of whom every other one has fewer preferences than the others."""
    folder = tmp_path_factory.mktemp("processes")
    small_model().save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    by_user = {
        f"u{n}": [Preference(f"q{i}", *(("yes", "no") if n % 3 else ("no", "yes")))
                  for i in range(6 if n % 2 else 3)]
        for n in range(8)
    }  # fmt: skip
    save_preferences(Preferences(by_user, [User(u) for u in by_user]), folder / "data", "")
    return folder


def recipe(place: Path, out: str, **settings: object) -> TrainRecipe:
    defaults: dict[str, object] = {
        "data": str(place / "data"), "out": str(place / out), "model": str(place / "model"),
        "shots": 5, "episodes": 24, "objective": "dpo", "beta": 0.1, "learning_rate": 5e-3,
        "warmup_steps": 0, "log_every": 1, "save_every": 2, "lora": Lora(rank=4, alpha=8),
    }  # fmt: skip
    return TrainRecipe.model_validate(defaults | settings)


def launched(
    settings: TrainRecipe, *flags: str, script: Sequence[str] = DDP
) -> subprocess.Popen[str]:
    """The recipe on two processes, as a user would start them."""
    path = Path(settings.out).with_suffix(".yaml")
    path.write_text(settings.model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", *script, "train", str(path), *flags]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def log_of(folder: Path) -> list[dict[str, float]]:
    log: list[dict[str, float]] = json.loads((folder / "training_log.json").read_text())
    return log


def check_alike(one: Path, two: Path, weights_in: str = ADAPTER) -> None:
    """Processes add in another order, and no more: each averages the sum over the same targets.

    All reductions are waited for in the order of the program, so that nothing depends on who is
    first: with random waits in each process, and 1 to 4 threads, the bytes were always the same.
    By other kernels (MKL's compatible ones, PyTorch's plainest) weights differed from one process's
    by 1.5e-7 at most, and losses by 2e-7 of themselves: 1% of what is allowed here.
    """
    losses = [[line["loss"] for line in log_of(folder)] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    there = load_file(two / weights_in)
    for name, weights in load_file(one / weights_in).items():
        torch.testing.assert_close(there[name], weights, atol=1e-5, rtol=1e-4)


def test_two_processes_train_like_one_with_trees_of_unlike_size(place: Path) -> None:
    one = train(recipe(place, "one", batch_size=4, micro_batch_size=4))
    accumulated = train(recipe(place, "accumulated", batch_size=4, micro_batch_size=1))
    check_alike(one, accumulated)
    two = recipe(place, "two", batch_size=2, micro_batch_size=1)
    process = launched(two)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    check_alike(one, Path(two.out))


LEAVING = """
import atexit
import torch.distributed as dist
from fspo.learning.train import shutdown

class Late:
    def __del__(self):
        print("finalized")

late = Late()
atexit.register(print, "registered")
if {together}:
    dist.init_process_group("gloo")
print("done", end=" ")
shutdown()
"""


def test_a_process_that_trained_with_others_leaves_before_the_interpreter_ends() -> None:
    """In the interpreter's own end a process is aborted now and then, all its work done."""
    for together, left in ((True, "done registered\n"), (False, "done registered\nfinalized\n")):
        process = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python",
             sys.executable, "-c", LEAVING.format(together=together)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert process.stdout == left


def test_processes_with_unlike_numbers_of_passes_train_like_one(place: Path) -> None:
    """A short tree is read with another short one, a long one alone."""
    settings = recipe(place, "passes", batch_size=4)
    episodes = EpisodeDataset(training_data(settings), byte_tokenizer(), settings)
    trees = [*map(episodes.__getitem__, range(len(episodes)))]
    tokens = 2 * min(map(len, trees))
    steps = zip(trees[0::4], trees[1::4], trees[2::4], trees[3::4], strict=True)
    counts = [
        {len(passes(step[0:2], tokens)), len(passes(step[2:4], tokens))}
        for step in map(list, steps)
    ]
    assert {1, 2} in counts
    one = train(recipe(place, "whole-steps", batch_size=4, micro_batch_size=4))
    check_alike(one, train(settings.model_copy(update={"micro_batch_tokens": tokens})))
    two = recipe(place, "two-passes", batch_size=2, micro_batch_tokens=tokens)
    process = launched(two)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    check_alike(one, Path(two.out))


WHOLE = {"lora": None, "learning_rate": 1e-4, "store_reference": True}


@pytest.mark.parametrize("script", [pytest.param(FSDP2, id="fsdp2"), zero2])
@pytest.mark.parametrize("changes", [{}, WHOLE], ids=["lora", "whole"])
def test_sharded_weights_train_like_whole_ones(
    place: Path, changes: dict[str, object], script: Sequence[str]
) -> None:
    name = f"{'whole' if changes else 'lora'}-{script[-1]}"
    one = train(recipe(place, f"{name}-one", batch_size=4, **changes))
    two = recipe(place, name, batch_size=2, **changes)
    process = launched(two, script=script)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    check_alike(one, Path(two.out), "model.safetensors" if changes else ADAPTER)


def test_sharded_processes_with_unlike_numbers_of_passes_train_like_one(place: Path) -> None:
    one = train(recipe(place, "passes-one", batch_size=4))
    two = recipe(place, "passes-sharded", batch_size=2, micro_batch_tokens=300)
    process = launched(two, script=FSDP2)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    check_alike(one, Path(two.out))


@with_deepspeed
def test_deepspeed_is_not_given_passes_that_it_would_take_for_steps(place: Path) -> None:
    process = launched(recipe(place, "passes-zero2", micro_batch_tokens=300), script=ZERO2)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "micro_batch_tokens: DeepSpeed" in said


@pytest.mark.parametrize(
    "script", [pytest.param(DDP, id="ddp"), pytest.param(FSDP2, id="fsdp2"), zero2]
)
def test_a_killed_worker_ends_the_job_which_then_resumes(
    place: Path, script: Sequence[str]
) -> None:
    out = f"killed-{script[-1]}"
    settings = recipe(place, out, batch_size=2, episodes=64)
    process = launched(settings, script=script)
    deadline = time.monotonic() + 240
    while not (checkpoint := last_checkpoint(place / out / "checkpoints")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # How accelerate and DeepSpeed save what is in parts.
    assert (checkpoint / "pytorch_model_fsdp.bin").exists() == (script == FSDP2)
    assert (checkpoint / "zero_to_fp32.py").exists() == (script == ZERO2)
    os.kill(worker(process.pid), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "SIGKILL" in said or "-9" in said
    assert not (place / out / ADAPTER).exists()
    again = launched(settings, "--resume", script=script)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    alone = recipe(place, f"{out}-alone", batch_size=4, micro_batch_size=4, episodes=64)
    check_alike(train(alone), place / out)


def worker(launcher: int) -> int:
    """The second process that a launcher has started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(
        int(child)
        for child in children
        if b"RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    )
