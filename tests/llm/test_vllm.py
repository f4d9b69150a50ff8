"""Starting vLLM's server and stopping it: here a program of that name that serves the chat API.

What the real one says can only be seen on a GPU; this is what is asked of it.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_server import expected

from fspo.errors import FspoError
from fspo.llm.meter import Meter
from fspo.llm.requests import Request, ask
from fspo.llm.vllm import Vllm

PROGRAM = f"""#!{sys.executable}
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from chat_server import ChatServer
assert sys.argv[1] == "serve"
if sys.argv[2] == "too-large":
    sys.exit("out of memory")
settings = dict(zip(sys.argv[3::2], sys.argv[4::2]))
time.sleep(0.5)
Path(__file__).with_name("pid").write_text(str(os.getpid()))
with ChatServer(key=os.environ["VLLM_API_KEY"], port=int(settings["--port"])):
    time.sleep(600)
"""


@pytest.fixture
def program(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "vllm"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return path


def model(name: str = "model") -> Vllm:
    return Vllm(name, concurrency=4, timeout=10.0, meter=Meter())


def is_running(pid: int) -> bool:
    try:
        return "vllm" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the server's process in /proc")
def test_the_server_is_started_asked_and_stopped(program):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from test_vllm import model\n"
        "from fspo.llm.requests import Request, ask\n"
        "asked = [Request((('user', str(n)),), 5) for n in range(9)]\n"
        "print([reply.text for reply in ask(model(), asked)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    texts = [expected([{"role": "user", "content": str(n)}], 0) for n in range(9)]
    assert done.stdout.strip() == str(texts), done.stderr
    pid = int(program.with_name("pid").read_text())
    end = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_running(pid)


def test_a_server_that_does_not_start_is_told(program):
    with pytest.raises(FspoError, match="did not start; at last it said: out of memory"):
        ask(model("too-large"), [Request((("user", "x"),), 5)])


def test_without_vllm_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    quiet = model()
    assert quiet.name == "model on vllm"
    assert ask(quiet, []) == []
    with pytest.raises(FspoError, match=r"fspo\[vllm\]"):
        ask(quiet, [Request((("user", "x"),), 5)])
