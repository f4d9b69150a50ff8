"""The demo from one end to the other on the embedded model, small; and its interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

RECIPE = {
    "synthesize": {
        "domain": "reviews", "questions": 12, "users": 24, "preferences_per_user": 8,
        "test": 0.3333, "validation": 0, "answers_per_question": 4, "max_tokens": 44,
        "labeller": "measured", "margin": 1.0, "opposed": True,
    },
    "train": {
        "episodes": 2, "shots": 2, "batch_size": 1, "log_every": 1, "save_every": 1, "beta": 0.05,
        "lora": {"rank": 4, "targets": ["q_proj", "v_proj"], "last_layers": 4},
    },
    "evaluate": {
        "shots": 2, "users": 2, "prompts_per_user": 2, "episodes_per_user": 1, "max_new_tokens": 24,
    },
}  # fmt: skip


def demo(tmp_path: Path) -> subprocess.Popen[str]:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    command = [sys.executable, "-m", "fspo", "demo", "--out", str(tmp_path / "demo")]
    command += ["--recipe", str(tmp_path / "recipe.yaml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_killed_demo_goes_on_to_its_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = demo(tmp_path)
    deadline = time.monotonic() + 1200  # a machine that is busy with other things is slow
    while not (out / "train-1" / "recipe.json").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    made = (out / "data" / "preferences.parquet").stat().st_mtime_ns

    stdout, stderr = demo(tmp_path).communicate()
    assert stdout.strip() == str(out / "report.html"), stderr
    assert (out / "data" / "preferences.parquet").stat().st_mtime_ns == made
    results = json.loads((out / "results.json").read_text())
    assert set(results["methods"]) == {"base", "few-shot prompted", "FSPO", "oracle"}
    assert set(results["preference_accuracy"]["by_shots"]) == {"0", "1", "2"}
    assert results["users"] == {"train": 16, "test": 2}
    assert set(results["seconds"]) == {"synthesize", "train", "evaluate"}
    assert len(json.loads((out / "training_log.json").read_text())) == 2
    assert "<svg" in (out / "report.html").read_text()

    data = ["--preferences", str(out / "data"), "--user", "test-0000", "--json"]
    answers = ["--prompt", "Write a review.", "--answer", "Good.", "--answer", "Bad."]
    command = [sys.executable, "-m", "fspo", "rank", "--policy", str(out / "train-1")]
    ranked = json.loads(subprocess.check_output([*command, *data, *answers], text=True))
    assert sorted(row["answer"] for row in ranked) == ["Bad.", "Good."]
