"""Bad input: an error of its own that says what to do, and nothing saved is lost or changed."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from disks import fill
from flux import (
    EngineClosedError,
    FluxConfig,
    FluxEngine,
    FluxError,
    InputError,
    InstanceConflictError,
    InstanceNotFoundError,
    NotADatabaseError,
    NotJSONError,
    SchemaTooNewError,
    StorageError,
    StorageFullError,
    StorageURLError,
    UnknownStepError,
    UnknownWorkflowError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
)
from opening import OpenEngine
from sagas import Flaky, noting, sequence, step_of
from saves import Saves
from undoing import fail, undoable

# Names


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("restart", {"from_step": "pya"}),
        ("retry_step", {"step": "pya"}),
        ("skip_compensation", {"step": "pya", "reason": "by hand"}),
    ],
)
async def test_unknown_step(engine: FluxEngine, verb: str, arguments: dict[str, Any]) -> None:
    """The error names the steps that there are; the instance stays as it was."""
    order = sequence().step("a", noting("a", []), compensate=fail).step("pay", fail)
    await engine.execute(order if verb == "skip_compensation" else sequence("a", "pay"), id="o")
    before = await engine.get("o")
    with pytest.raises(UnknownStepError) as refused:
        await getattr(engine, verb)("o", **arguments)
    assert str(refused.value) == "workflow 'order' has no step 'pya'; its steps are: a, pay"
    assert await engine.get("o") == before


async def test_unknown_step_in_a_handler(engine: FluxEngine) -> None:
    """`output` of a name that the workflow lacks fails the step, and names the steps."""

    async def ship(ctx: WorkflowContext) -> None:
        ctx.output("pya")

    result = await engine.execute(sequence("pay").step("ship", ship))
    told = "UnknownStepError: workflow 'order' has no step 'pya'; its steps are: pay, ship"
    assert str(result.error) == told


@pytest.mark.parametrize("verb", ["execute", "start"])
async def test_unknown_workflow(open_engine: OpenEngine, verb: str) -> None:
    """A name that is not registered: the error names those that are, and how to add one."""
    engine = await open_engine(workflows=[sequence("a")])
    told = r"no workflow 'ordre' is registered \(there are: order\); pass it to FluxEngine"
    with pytest.raises(UnknownWorkflowError, match=told):
        await getattr(engine, verb)("ordre")
    assert await engine.count() == 0


@pytest.mark.parametrize("verb", ["resume", "restart"])
async def test_workflow_that_is_not_registered_here(open_engine: OpenEngine, verb: str) -> None:
    """An instance whose workflow this engine lacks can be looked at, and is not touched."""
    await (await open_engine()).execute(sequence("a").step("pay", fail), id="o")
    engine = await open_engine()
    before = await engine.get("o")
    assert [entry.name for entry in before.history] == ["a", "pay"]
    arguments = {"from_step": "a"} if verb == "restart" else {}
    with pytest.raises(UnknownWorkflowError, match="no workflow 'order' is registered"):
        await getattr(engine, verb)("o", **arguments)
    assert await engine.get("o") == before


async def test_something_else_is_no_workflow(engine: FluxEngine) -> None:
    """The error says what is wanted."""
    with pytest.raises(TypeError, match="give one, or the name of a registered one"):
        await engine.execute(5)  # type: ignore[arg-type]


async def test_id_of_another_workflow(engine: FluxEngine) -> None:
    """The instance that has the id stays as it was; the error asks for another id."""
    await engine.execute(sequence("a"), id="o")
    before = await engine.get("o")
    told = "'o' exists already and runs workflow 'order', not 'refund'; use another id"
    with pytest.raises(InstanceConflictError, match=told):
        await engine.execute(Workflow("refund").step("a", fail), id="o")
    assert await engine.get("o") == before


async def test_id_with_another_input(engine: FluxEngine) -> None:
    """The same, where the input differs."""
    await engine.execute(sequence("a"), {"sku": "A1"}, id="o")
    before = await engine.get("o")
    with pytest.raises(InstanceConflictError, match="was started with another input; use another"):
        await engine.execute("order", {"sku": "A2"}, id="o")
    assert await engine.get("o") == before


@pytest.mark.parametrize("id", ["", "a\nb", 7])
async def test_what_is_no_id(engine: FluxEngine, id: Any) -> None:
    """An id is text that people can read."""
    with pytest.raises(ValueError, match="is no id; an id is printable text that is not empty"):
        await engine.execute(sequence("a"), id=id)
    assert await engine.count() == 0


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("get", ()),
        ("resume", ()),
        ("result", ()),
        ("delete", ()),
        ("retry_rollback", ()),
        ("retry_step", ("a",)),
        ("restart", ("a",)),
    ],
)
async def test_unknown_instance(engine: FluxEngine, verb: str, arguments: tuple[str, ...]) -> None:
    """The error says where to look."""
    with pytest.raises(InstanceNotFoundError, match=r"no instance 'o' .*look with engine\.list"):
        await getattr(engine, verb)("o", *arguments)


async def test_engine_that_is_not_open(storage: WorkflowStorage) -> None:
    """The error shows how to open it."""
    engine = FluxEngine(storage)
    with pytest.raises(EngineClosedError, match="execute: the engine is not open; use it inside"):
        await engine.execute(sequence("a"))


# Values


@attrs.define
class Order:
    sku: str
    total: int


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (5, "it must be a Order or a dict, not int"),
        ({"sku": "A1", "total": "many"}, "total: 'many' is no int"),
        ({"sku": "A1"}, "total: required field missing"),
        (None, "sku: required field missing"),
    ],
)
async def test_input_of_the_wrong_type(engine: FluxEngine, given: Any, told: str) -> None:
    """The error names the field, and nothing was saved."""
    order = Workflow("order", input=Order).step("a", noting("a", []))
    with pytest.raises(InputError, match=told):
        await engine.execute(order, given)
    assert await engine.count() == 0


async def test_input_that_is_no_dict(engine: FluxEngine) -> None:
    """Untyped input is a dict."""
    with pytest.raises(InputError, match=r"it must be a dict, not list; give \{\} for none"):
        await engine.execute(sequence("a"), [1])
    assert await engine.count() == 0


async def test_input_that_is_not_json(engine: FluxEngine) -> None:
    """The error names the path and what to keep instead, and nothing was saved."""
    given = {"lines": [{"at": datetime(2026, 1, 1, tzinfo=UTC)}]}
    told = r"^input\.lines\[0\]\.at: datetime is not JSON; use \.isoformat\(\)"
    with pytest.raises(NotJSONError, match=told):
        await engine.execute(sequence("a"), given)
    assert await engine.count() == 0


async def test_data_that_is_not_json(engine: FluxEngine) -> None:
    """The step fails and names the path; what was saved before it stays."""

    async def spoil(ctx: WorkflowContext) -> None:
        ctx.data["kept"] = "no"
        ctx.data["order"] = {"when": datetime(2026, 1, 1, tzinfo=UTC)}

    async def keep(ctx: WorkflowContext) -> None:
        ctx.data["kept"] = "yes"

    result = await engine.execute(Workflow("order").step("a", keep).step("b", spoil))
    told = "NotJSONError: data.order.when: datetime is not JSON; use .isoformat()"
    assert str(result.error).startswith(told)
    assert (result.status, result.data) == (WorkflowStatus.FAILED, {"kept": "yes"})


@pytest.mark.parametrize("labels", [{"shop": 7}, {7: "shop"}])
async def test_labels_that_are_no_text(engine: FluxEngine, labels: Any) -> None:
    """Labels are text to text."""
    with pytest.raises(ValueError, match="is not text; labels are str to str"):
        await engine.execute(sequence("a"), labels=labels)
    assert await engine.count() == 0


# Places


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("orders.db", "the schemes known here are memory, redis, rediss, sqlite"),
        ("", "the schemes known here are"),
        ("postgres://localhost/orders", "the schemes known here are"),
        ("sqlite:orders.db", "sqlite: is followed by three slashes and a path"),
        ("sqlite://orders.db", "sqlite: is followed by three slashes and a path"),
        ("sqlite:///", "it names no file; for a storage in memory write memory:"),
        ("sqlite:///o.db?sync=full", "its settings are synchronous, busy_timeout, not sync"),
        ("sqlite:///o.db?synchronous=off", "synchronous is full or normal, not 'off'"),
        ("memory:orders", "memory: takes no path"),
    ],
)
def test_url_that_means_nothing(url: str, told: str) -> None:
    """It is refused when the engine is made, with the forms that there are."""
    with pytest.raises(StorageURLError, match=told) as refused:
        FluxEngine(url)
    assert "write memory:, sqlite:///path" in str(refused.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


async def refused(path: Path) -> FluxError:
    """The error with which an engine refuses this file, which stays as it was."""
    before = path.read_bytes()  # noqa: ASYNC240 - a small file of the test
    with pytest.raises(FluxError) as error:
        await FluxEngine(f"sqlite:///{path}").init()
    assert path.read_bytes() == before  # noqa: ASYNC240
    return error.value


async def test_database_of_a_newer_schema(path: Path) -> None:
    """The error tells both versions and what to upgrade; what is in it stays."""
    async with FluxEngine(f"sqlite:///{path}") as engine:
        await engine.execute(sequence("a"), id="o")
    with closing(sqlite3.connect(path)) as connection:
        (known,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("PRAGMA user_version = 99")
    error = await refused(path)
    assert isinstance(error, SchemaTooNewError)
    assert "has schema 99" in str(error)
    assert "upgrade flux-saga, the database is unchanged" in str(error)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {known}")
    async with FluxEngine(f"sqlite:///{path}") as engine:
        assert (await engine.get("o")).status is WorkflowStatus.COMPLETED


async def test_file_that_is_not_a_database(path: Path) -> None:
    """Some other file is left as it is; the error asks for another path."""
    path.write_text("dear diary")  # noqa: ASYNC240 - a test's own small file
    error = await refused(path)
    assert isinstance(error, NotADatabaseError)
    assert "it is unchanged, use another path" in str(error)


async def test_database_of_somebody_else(path: Path) -> None:
    """So is a database with other tables, which the error names."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    error = await refused(path)
    assert isinstance(error, NotADatabaseError)
    assert "birds" in str(error)


async def test_folder_that_is_missing(path: Path) -> None:
    """The error says what to create."""
    with pytest.raises(StorageError, match="is missing; create it first"):
        await FluxEngine(f"sqlite:///{path.parent / 'none' / 'o.db'}").init()


async def test_engine_that_could_not_open_can_try_again(path: Path) -> None:
    """Once the cause is gone the same engine opens."""
    path.write_text("dear diary")  # noqa: ASYNC240 - a test's own small file
    engine = FluxEngine(f"sqlite:///{path}")
    with pytest.raises(NotADatabaseError):
        await engine.init()
    path.unlink()  # noqa: ASYNC240
    async with engine:
        assert (await engine.execute(sequence("a"))).status is WorkflowStatus.COMPLETED


# A save that fails

FULL = StorageFullError("orders.db")


@pytest.mark.parametrize("save", [2, 3, 4])
async def test_disk_that_is_full(
    storage: WorkflowStorage, open_engine: OpenEngine, save: int
) -> None:
    """The error says what to do; what was saved stays; resume goes on once there is room."""
    ran: list[str] = []
    engine = await open_engine(Saves(storage, fail_before=save, error=FULL), storage_patience=0)
    with pytest.raises(StorageFullError, match="make room, then resume the instance"):
        await engine.execute(sequence("a", "b", "c", ran=ran), id="o")
    before = await engine.get("o")
    assert (before.status, len(before.history)) == (WorkflowStatus.RUNNING, save - 1)
    result = await engine.resume("o")
    unsaved = "abc"[save - 2]
    assert "".join(ran) == "abc".replace(unsaved, unsaved * 2)
    assert (result.status, len(result.history)) == (WorkflowStatus.COMPLETED, 3)


async def test_disk_that_is_full_at_the_start(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Nothing is saved, no handler ran, and the same id can be used later."""
    ran: list[str] = []
    engine = await open_engine(Saves(storage, fail_before=1, error=FULL), storage_patience=0)
    with pytest.raises(StorageFullError):
        await engine.execute(sequence("a", ran=ran), id="o")
    assert (ran, await engine.count()) == ([], 0)
    assert (await engine.execute("order", id="o")).status is WorkflowStatus.COMPLETED


async def test_disk_that_is_full_in_a_rollback(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """Resume goes on backward."""
    did: list[str] = []
    engine = await open_engine(Saves(storage, fail_before=5, error=FULL), storage_patience=0)
    with pytest.raises(StorageFullError):
        await engine.execute(undoable("a", "b", did=did).step("pay", fail), id="o")
    assert (await engine.get("o")).status is WorkflowStatus.ROLLING_BACK
    result = await engine.resume("o")
    assert result.status is WorkflowStatus.ROLLED_BACK
    assert did == ["a", "b", "undo b", "undo b", "undo a"]


async def test_unsaved_step_runs_again_with_its_key(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A result that could not be saved is lost, not its effect's key."""
    pay = Flaky(0)
    engine = await open_engine(Saves(storage, fail_before=2, error=FULL), storage_patience=0)
    with pytest.raises(StorageFullError):
        await engine.execute(Workflow("order").step("pay", pay), id="o")
    await engine.resume("o")
    assert pay.attempts == [1, 2]
    assert len(set(pay.keys)) == 1


async def test_save_that_was_made_after_all(
    storage: WorkflowStorage, open_engine: OpenEngine
) -> None:
    """A save that reports an error and was written all the same is not made twice."""
    engine = await open_engine(Saves(storage, fail_after=2))
    with pytest.raises(StorageError, match="lets this save fail"):
        await engine.execute(sequence("a", "b"), id="o")
    a = step_of(await engine.get("o"), "a")
    result = await engine.resume("o")
    assert (result.status, step_of(result, "a")) == (WorkflowStatus.COMPLETED, a)


async def test_other_instances_go_on(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A failed save stops its instance alone, and the engine finds that one by itself."""
    engine = await open_engine(
        Saves(storage, fail_before=2, error=FULL), lease=0.1, poll=0.02, storage_patience=0
    )
    with pytest.raises(StorageFullError):
        await engine.execute(sequence("a"), id="o")
    assert (await engine.execute("order", id="other")).status is WorkflowStatus.COMPLETED
    assert (await engine.result("o", timeout=5)).status is WorkflowStatus.COMPLETED


async def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    """A file system without room: the same error, and the instance can be resumed with room."""
    ran: list[str] = []

    async def b(ctx: WorkflowContext) -> str:
        ran.append("b")
        return "x" * 200_000

    order = sequence("a", ran=ran).step("b", b)
    url = f"sqlite:///{small_disk / 'orders.db'}"
    async with FluxEngine(url, config=FluxConfig(grace=0.2, storage_patience=0)) as engine:
        await engine.execute(Workflow("small").step("a", noting("a", [])), id="before")
        ballast = fill(small_disk / "ballast", leave=100_000)
        with pytest.raises(StorageFullError, match=r"orders\.db is full; make room"):
            await engine.execute(order, id="o")
        assert (await engine.get("before")).status is WorkflowStatus.COMPLETED
        ballast.unlink()
        result = await engine.resume("o")
    assert (result.status, ran) == (WorkflowStatus.COMPLETED, ["a", "b", "b"])


@pytest.mark.parametrize("given", [5, Path("orders.db"), None])
def test_what_is_no_storage_is_refused(given: Any) -> None:
    """A path or a number is no storage, and the message says what is."""
    with pytest.raises(TypeError, match=r"is no storage; give a URL such as 'sqlite:///orders.db'"):
        FluxEngine(given)
