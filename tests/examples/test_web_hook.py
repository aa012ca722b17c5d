"""The web-hook example as a server: other processes call it, and it may be killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from checkout import ROOT

PATIENCE = 20.0


class Server:
    """The example in a process of its own, and what a client gets from it."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, str(ROOT / "examples/approval_web_hook.py"), "0", str(folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._said = self._process.stdout
        self._port = int(self._said.readline().rpartition(":")[2])

    def call(self, method: str, path: str, **body: object) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
            connection.request(method, path, json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def status(self, id: str) -> str:
        found: str = self.call("GET", f"/expenses/{id}")[1]["status"]
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    # A process that is started where Ctrl-C is ignored, as in the background, ignores it as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    server = Server(tmp_path)
    yield server
    server.kill()
    signal.signal(signal.SIGINT, before)


TRAIN = {"id": "train-1", "who": "ada", "cents": 4200}
APPROVED = {"event": "evt-1", "expense": "train-1", "approved": True, "by": "kim"}


def eventually_completed(server: Server, id: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.status(id) != "completed":
        assert time.monotonic() < deadline, server.status(id)
        time.sleep(0.01)


def test_web_hook_resumes_the_expense(server: Server) -> None:
    """An expense waits until the web-hook is called."""
    assert server.call("POST", "/expenses", **TRAIN)[0] == 201
    assert server.status("train-1") == "suspended"
    assert server.call("POST", "/hooks/approval", **APPROVED) == (202, {"event": "evt-1"})
    eventually_completed(server, "train-1")


def test_web_hook_may_be_called_twice(server: Server) -> None:
    """The same event is acknowledged again, even after the end; another one comes too late."""
    server.call("POST", "/expenses", **TRAIN)
    server.call("POST", "/hooks/approval", **APPROVED)
    eventually_completed(server, "train-1")
    assert server.call("POST", "/hooks/approval", **APPROVED)[0] == 202
    assert server.call("POST", "/hooks/approval", **APPROVED | {"event": "evt-2"})[0] == 409


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/hooks/approval", APPROVED, 404),
        ("/hooks/approval", {"event": "evt-1"}, 400),
        ("/expenses", TRAIN | {"cents": "many"}, 400),
        ("/elsewhere", {}, 400),
    ],
    ids=["no such expense", "incomplete", "bad input", "no such path"],
)
def test_bad_calls_are_refused(
    server: Server, path: str, body: dict[str, object], status: int
) -> None:
    """The client learns what is wrong, and the server goes on."""
    found, said = server.call("POST", path, **body)
    assert (found, bool(said["error"])) == (status, True)
    assert server.call("POST", "/expenses", **TRAIN)[0] == 201


def test_server_may_be_killed_meanwhile(server: Server, tmp_path: Path) -> None:
    """A web-hook finds its expense in a server that was started since."""
    server.call("POST", "/expenses", **TRAIN)
    server.kill()
    again = Server(tmp_path)
    try:
        assert again.call("POST", "/hooks/approval", **APPROVED)[0] == 202
        eventually_completed(again, "train-1")
    finally:
        again.kill()


def test_ctrl_c_ends_the_server(server: Server) -> None:
    """The server ends well, and closes its engine."""
    server.call("POST", "/expenses", **TRAIN)
    assert server.interrupt() == 0
