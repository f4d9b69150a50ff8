"""The Python of docs/how-to/synthesize.md runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_step_alone_runs():
    [code] = re.findall(
        r"```python\n(.*?)```", (DOCS / "how-to" / "synthesize.md").read_text("utf-8"), re.S
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all(line.startswith("This person is ") and "'grade'" in line for line in lines)
    assert "somewhere between" in lines[2]
