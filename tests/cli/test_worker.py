"""`flux worker`: a process that drives what is due, and stops when it is told to."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import RunFlux
from .workers import Workers


@pytest.fixture
def workers(flux_command: str, tmp_path: Path) -> Iterator[Workers]:
    """Workers on an SQLite file; none outlives the test."""
    workers = Workers(flux_command, f"sqlite:///{tmp_path}/flux.db", tmp_path)
    yield workers
    workers.kill_all()


@pytest.fixture
def workers_on_redis(flux_command: str, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(flux_command, redis_url, tmp_path)
    yield workers
    workers.kill_all()


def test_worker_drives_what_is_due(workers: Workers) -> None:
    """An instance that another process started and woke runs in the worker, to its end."""
    workers.open_gate()
    workers.order("order-1")
    worker = workers.start("--poll", 0.05)
    workers.pay("order-1")
    assert workers.result("order-1") == "completed"
    did = [(effect["what"], effect["pid"]) for effect in workers.effects()]
    assert did == [("packing", worker.pid), ("shipped", worker.pid)]


def test_worker_on_redis_hears_at_once(workers_on_redis: Workers) -> None:
    """On Redis a signal from another process is acted on long before the next poll."""
    workers_on_redis.open_gate()
    workers_on_redis.order("order-1")
    workers_on_redis.start("--poll", 3600)
    workers_on_redis.pay("order-1")
    assert workers_on_redis.result("order-1") == "completed"


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_s27_running_step_gets_the_grace(workers: Workers, told: signal.Signals) -> None:
    """At a signal the step that runs may end and is saved; the next one is left to others."""
    workers.order("order-1")
    worker = workers.start("--poll", 0.05, "--grace", 30)
    workers.pay("order-1")
    workers.wait_until(lambda: workers.effects("packing"))
    worker.tell(told)
    workers.wait_until(lambda: "worker.stopping" in worker.log)
    workers.open_gate()
    assert worker.ended() == 0
    assert [effect["what"] for effect in workers.effects()] == ["packing"]
    pack = workers.state("order-1").step("pack")
    assert pack is not None
    assert pack.status == "completed"


def test_s27_leases_are_handed_back(workers: Workers) -> None:
    """A step that goes on for too long is cancelled, and another worker takes over at once."""
    workers.order("order-1")
    first = workers.start("--poll", 0.05, "--grace", 0.1, "--lease", 3600)
    workers.pay("order-1")
    workers.wait_until(lambda: workers.effects("packing"))
    first.tell(signal.SIGTERM)
    assert first.ended() == 0
    workers.open_gate()
    second = workers.start("--poll", 0.05, "--lease", 3600)
    assert workers.result("order-1") == "completed"
    packed = [(effect["pid"], effect["attempt"]) for effect in workers.effects("packing")]
    assert packed == [(first.pid, 1), (second.pid, 2)]


def test_killed_worker_is_replaced(workers: Workers) -> None:
    """What a dead worker drove goes to another one, once its lease has run out."""
    workers.order("order-1")
    first = workers.start("--poll", 0.05, "--lease", 0.5)
    workers.pay("order-1")
    workers.wait_until(lambda: workers.effects("packing"))
    first.kill()
    workers.open_gate()
    workers.start("--poll", 0.05)
    assert workers.result("order-1") == "completed"


def test_second_signal_ends_at_once(workers: Workers) -> None:
    """Whoever does not want to wait for the grace tells it twice."""
    workers.order("order-1")
    worker = workers.start("--poll", 0.05, "--grace", 3600)
    workers.pay("order-1")
    workers.wait_until(lambda: workers.effects("packing"))
    worker.tell(signal.SIGTERM)
    workers.wait_until(lambda: "worker.stopping" in worker.log)
    assert worker.exit_code is None
    worker.tell(signal.SIGINT)
    assert worker.ended() == -signal.SIGINT


def test_blocked_worker_can_be_ended(workers: Workers) -> None:
    """A step that lets nothing else run does not keep the second signal from its work."""
    workers.order("order-1", workflow="blocking")
    worker = workers.start("--poll", 0.05)
    workers.pay("order-1")
    workers.wait_until(lambda: workers.effects("packing"))

    def told_again() -> bool:
        worker.tell(signal.SIGTERM)
        return worker.exit_code is not None

    workers.wait_until(told_again)
    assert worker.exit_code == -signal.SIGTERM


def test_heedless_step_does_not_hold_it(workers: Workers) -> None:
    """A step that ignores its cancellation is left behind; the worker ends well all the same."""
    workers.order("order-1", workflow="heedless")
    worker = workers.start("--poll", 0.05, "--grace", 0.1)
    workers.pay("order-1")
    workers.wait_until(lambda: workers.effects("packing"))
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0
    assert "worker.stopped" in worker.log


def test_max_instances_is_kept(workers: Workers) -> None:
    """A worker for one instance at a time ends one before it begins the next."""
    workers.order("a", "b", workflow="slow")
    workers.pay("a", "b")
    workers.start("--poll", 0.05, "--max-instances", 1)
    assert [workers.result(id) for id in ("a", "b")] == ["completed", "completed"]
    did = [effect["what"] for effect in workers.effects()]
    assert did == ["packing", "shipped"] * 2


def test_log_lines_have_fields(workers: Workers) -> None:
    """The log says who runs and what it drives, a line an event; an idle worker stops at once."""
    worker = workers.start("--poll", 3600, "--lease", 3600)
    worker.tell(signal.SIGTERM)
    assert worker.ended() == 0
    told = [line.split()[2:] for line in worker.log.splitlines()]
    names = "order:1,slow:1,heedless:1,blocking:1"
    assert told == [
        ["INFO", "flux.worker", "worker.started", f"pid={worker.pid}", f"workflows={names}"],
        ["INFO", "flux.worker", "worker.stopping"],
        ["INFO", "flux.worker", "worker.stopped"],
    ]


def test_trace_logs_every_event(workers: Workers) -> None:
    """With --trace the log tells of every step."""
    workers.open_gate()
    workers.order("order-1")
    worker = workers.start("--poll", 0.05, "--trace")
    workers.pay("order-1")
    workers.result("order-1")
    workers.wait_until(lambda: "flux.trace workflow:complete" in worker.log)
    assert "flux_workflow_id=order-1" in worker.log


# What it cannot do


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("nonsense:", "'nonsense:' is no storage"),
        ("memory:", "memory: is seen by no other process"),
        ("sqlite:///missing/flux.db", "the folder of missing/flux.db is missing; create it first"),
        ("redis://127.0.0.1:1/0", "cannot be reached"),
        ("redis://[bad", "is no storage"),
    ],
)
def test_bad_storage_is_told(run_flux: RunFlux, app_here: None, storage: str, said: str) -> None:
    """A storage that is none, or is down, ends the worker with a sentence and exit code 2."""
    ran = run_flux("worker", "--storage", storage, "--app", "worker_app:workflows")
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_bad_app_is_told(run_flux: RunFlux, app_here: None) -> None:
    """An app that is not there ends the worker with a sentence and exit code 2."""
    ran = run_flux("worker", "--storage", "sqlite:///flux.db", "--app", "nobody:workflows")
    assert ran.returncode == 2
    assert "Invalid value for '--app': there is no module 'nobody'" in ran.stderr


@pytest.mark.parametrize("option", ["lease", "poll", "grace", "max-instances"])
def test_bad_settings_are_told(run_flux: RunFlux, app_here: None, option: str) -> None:
    """A setting that an engine refuses is a usage error that names it."""
    place = ("--storage", "sqlite:///flux.db", "--app", "worker_app:workflows")
    ran = run_flux("worker", *place, f"--{option}", "-1")
    assert ran.returncode == 2
    assert "-1" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.fixture
def app_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with the app in it."""
    app = Path(__file__).with_name("worker_app.py")
    (tmp_path / app.name).write_text(app.read_text())
    monkeypatch.chdir(tmp_path)
