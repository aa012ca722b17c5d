"""Approval web-hook: expenses wait until another system calls, then they are paid.

    python examples/approval_web_hook.py               a server, and a client that calls it
    python examples/approval_web_hook.py 8080 FOLDER   the server alone, until Ctrl-C

A threaded HTTP server has no event loop, so it uses the blocking engine. Web-hooks may come twice,
early or late: the event's id is the signal's, so that each is taken once. Kill the server while an
expense waits and start it again on the same folder: the web-hook still finds it.
"""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from attrs import frozen

from flux import FluxError, InputError, InstanceNotFoundError, Workflow, WorkflowContext
from flux.blocking import BlockingEngine


@frozen(kw_only=True)
class Expense:
    """What an employee hands in."""

    who: str
    cents: int


def expense_workflow(ledger: Path) -> Workflow:
    """Wait for the decision, and pay what was approved."""
    expense = Workflow("expense", input=Expense)
    expense.wait("decision", signal="decided", timeout=timedelta(days=14))

    @expense.commit(when=lambda ctx: ctx.output("decision")["approved"])
    def pay(ctx: WorkflowContext) -> None:
        # The key makes the effect idempotent: asked twice, it is paid once.
        with closing(sqlite3.connect(ledger)) as db, db:
            add = "INSERT INTO payments VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
            db.execute(add, (ctx.idempotency_key, ctx.input.who, ctx.input.cents))

    return expense


class Api(BaseHTTPRequestHandler):
    """POST /expenses, POST /hooks/approval, GET /expenses/ID; all JSON."""

    def __init__(self, flux: BlockingEngine, *args: Any) -> None:
        self.flux = flux
        super().__init__(*args)

    def hand_in(self, body: dict[str, Any]) -> tuple[int, Any]:
        expense = {"who": body["who"], "cents": body["cents"]}
        result = self.flux.execute("expense", expense, id=body["id"])
        return 201, {"id": result.id, "status": result.status}

    def decide(self, body: dict[str, Any]) -> tuple[int, Any]:
        decision = {"approved": body["approved"], "by": body["by"]}
        event = body["event"]
        # Without a wait it returns as soon as the signal is saved; the engine does the rest.
        self.flux.signal(body["expense"], "decided", decision, signal_id=event, wait=False)
        return 202, {"event": event}

    def show(self, id: str) -> tuple[int, Any]:
        state = self.flux.get(id)
        return 200, {"id": state.id, "status": state.status}

    def do_POST(self) -> None:
        routes = {"/expenses": self.hand_in, "/hooks/approval": self.decide}
        length = int(self.headers.get("Content-Length", 0))
        self.answer(lambda: routes[self.path](json.loads(self.rfile.read(length))))

    def do_GET(self) -> None:
        self.answer(lambda: self.show(self.path.removeprefix("/expenses/")))

    def answer(self, ask: Callable[[], tuple[int, Any]]) -> None:
        try:
            status, body = ask()
        except FluxError as error:
            status, body = status_of(error), {"error": str(error)}
        except (KeyError, ValueError, TypeError) as error:
            status, body = 400, {"error": f"{type(error).__name__}: {error}"}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def status_of(error: FluxError) -> int:
    if isinstance(error, InstanceNotFoundError):
        return 404
    return 400 if isinstance(error, InputError) else 409


def open_ledger(folder: Path) -> Path:
    path = folder / "ledger.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS payments (key TEXT PRIMARY KEY, who TEXT, cents INT)"
        )
    return path


def main(folder: Path, port: int | None) -> None:
    expense = expense_workflow(open_ledger(folder))
    with (
        BlockingEngine(f"sqlite:///{folder / 'flux.db'}", workflows=[expense]) as flux,
        ThreadingHTTPServer(("127.0.0.1", port or 0), partial(Api, flux)) as server,
    ):
        if port is None:
            Thread(target=server.serve_forever, daemon=True).start()
            play(server.server_port, flux, folder / "ledger.db")
            server.shutdown()
            return
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def play(port: int, flux: BlockingEngine, ledger: Path) -> None:
    """Be the employees, and the system in which their managers decide."""

    def call(path: str, **body: object) -> None:
        with closing(HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            print(f"{path} {json.dumps(body)}\n  {response.status} {response.read().decode()}")

    call("/expenses", id="train-1", who="ada", cents=4200)
    call("/expenses", id="hotel-2", who="linus", cents=99000)
    call("/expenses", id="taxi-3", who="grace", cents="many")
    call("/hooks/approval", event="evt-1", expense="train-1", approved=True, by="kim")
    call("/hooks/approval", event="evt-2", expense="hotel-2", approved=False, by="kim")
    for id in ("train-1", "hotel-2"):
        print(f"{id}: {flux.result(id).status}")

    # The sender did not hear our answer and calls again, then mixes up its events.
    call("/hooks/approval", event="evt-1", expense="train-1", approved=True, by="kim")
    call("/hooks/approval", event="evt-1", expense="train-1", approved=False, by="kim")
    call("/hooks/approval", event="evt-3", expense="plane-4", approved=True, by="kim")
    call("/hooks/approval", event="evt-4", expense="hotel-2", approved=True, by="kim")
    with closing(sqlite3.connect(ledger)) as db:
        print("paid:", *db.execute("SELECT who, cents FROM payments"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[2]), int(sys.argv[1]))
    else:
        with TemporaryDirectory() as name:
            main(Path(name), None)
