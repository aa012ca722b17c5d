"""Caches: a pure step's result is kept for all instances that ask the same."""

import logging
from typing import Any

import pytest

from flux import (
    Cache,
    FluxEngine,
    FluxTraceEvent,
    ValuesMissingError,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    wait,
)
from flux.testing import ManualClock
from jumping import FAR
from opening import OpenEngine
from sagas import Flaky, step_of
from saves import DiedError, Saves
from sharing import Sharing

COMPLETED, FAILED = WorkflowStatus.COMPLETED, WorkflowStatus.FAILED


def pricing(asked: list[str], cache: Cache | None = None, version: str = "1") -> Workflow:
    """A workflow that looks a price up, notes in `asked` for whom, and keeps it in its data."""
    workflow = Workflow("pricing", version=version)

    @workflow.step(pure=True, cache=cache or Cache())
    async def price(ctx: WorkflowContext) -> dict[str, Any]:
        asked.append(ctx.id)
        ctx.data["price"] = ctx.input["sku"] * 10
        return {"sku": ctx.input["sku"]}

    return workflow


async def test_same_input_is_a_hit(engine: FluxEngine) -> None:
    """A second instance of the same input has the result without a call; its history says so."""
    asked: list[str] = []
    workflow = pricing(asked)
    first = await engine.execute(workflow, {"sku": 1, "who": "kim"}, id="a")
    second = await engine.execute(workflow, {"who": "kim", "sku": 1}, id="b")
    assert asked == ["a"]
    assert (step_of(first, "price").cached, step_of(second, "price").cached) == (False, True)
    assert second.status is COMPLETED
    assert step_of(second, "price").output == {"sku": 1}
    assert step_of(second, "price").attempt_count == 1


async def test_hit_changes_the_data(engine: FluxEngine) -> None:
    """What the step changed in the data is changed by a hit as well, and is saved."""
    workflow = pricing([])
    await engine.execute(workflow, {"sku": 2}, id="a")
    await engine.execute(workflow, {"sku": 2}, id="b")
    assert (await engine.get("b")).data == {"price": 20}


async def test_hit_deletes_from_the_data(engine: FluxEngine) -> None:
    """A key that the step deleted is deleted by a hit."""
    workflow = Workflow("pricing")

    @workflow.step
    async def fetch(ctx: WorkflowContext) -> None:
        ctx.data |= {"raw": "1,2", "kept": True}

    @workflow.step(pure=True, cache=Cache())
    async def parse(ctx: WorkflowContext) -> None:
        ctx.data["parsed"] = ctx.data.pop("raw").split(",")

    await engine.execute(workflow, id="a")
    second = await engine.execute(workflow, id="b")
    assert second.data == {"kept": True, "parsed": ["1", "2"]}
    assert step_of(second, "parse").cached


async def test_another_input_is_a_miss(engine: FluxEngine) -> None:
    """By default the whole input is the key."""
    asked: list[str] = []
    workflow = pricing(asked)
    await engine.execute(workflow, {"sku": 1}, id="a")
    await engine.execute(workflow, {"sku": 2}, id="b")
    assert asked == ["a", "b"]


async def test_key_decides(engine: FluxEngine) -> None:
    """With a key function, instances of the same key share the result, whatever else they have."""
    asked: list[str] = []
    workflow = pricing(asked, Cache(key=lambda ctx: ctx.input["sku"]))
    await engine.execute(workflow, {"sku": 1, "who": "kim"}, id="a")
    await engine.execute(workflow, {"sku": 1, "who": "lee"}, id="b")
    await engine.execute(workflow, {"sku": 2, "who": "lee"}, id="c")
    assert asked == ["a", "c"]


async def test_none_is_a_key(engine: FluxEngine) -> None:
    """A key function that returns None means one result for all, not the input."""
    asked: list[str] = []
    workflow = pricing(asked, Cache(key=lambda ctx: None))
    await engine.execute(workflow, {"sku": 1}, id="a")
    await engine.execute(workflow, {"sku": 2}, id="b")
    assert asked == ["a"]


async def test_versions_share_nothing(engine: FluxEngine) -> None:
    """Another version of the workflow asks anew."""
    asked: list[str] = []
    await engine.execute(pricing(asked), {"sku": 1}, id="a")
    await engine.execute(pricing(asked, version="2"), {"sku": 1}, id="b")
    assert asked == ["a", "b"]


async def test_steps_share_nothing(engine: FluxEngine) -> None:
    """Two cached steps of one workflow have their own results."""
    workflow = Workflow("sums")
    workflow.step("one", lambda ctx: 1, pure=True, cache=Cache())
    workflow.step("two", lambda ctx: 2, pure=True, cache=Cache())
    result = await engine.execute(workflow)
    assert [entry.output for entry in result.history] == [1, 2]


async def test_gone_after_its_time(open_engine: OpenEngine) -> None:
    """After `ttl` seconds the step is called again."""
    asked: list[str] = []
    clock = ManualClock()
    engine = await open_engine(clock=clock, **FAR)
    workflow = pricing(asked, Cache(ttl=60))
    await engine.execute(workflow, {"sku": 1}, id="a")
    clock.advance(59)
    await engine.execute(workflow, {"sku": 1}, id="b")
    clock.advance(2)
    await engine.execute(workflow, {"sku": 1}, id="c")
    assert asked == ["a", "c"]


async def test_failure_is_not_kept(engine: FluxEngine) -> None:
    """An attempt that fails keeps nothing; the one that succeeds does."""
    flaky = Flaky(times=1)
    workflow = Workflow("pricing").step("price", flaky, pure=True, cache=Cache())
    assert (await engine.execute(workflow, id="a")).status is FAILED
    assert not step_of(await engine.execute(workflow, id="b"), "price").cached
    assert step_of(await engine.execute(workflow, id="c"), "price").cached
    assert len(flaky.attempts) == 2


async def test_wait_is_not_kept(engine: FluxEngine) -> None:
    """A pure step that returns a wait waits in every instance."""
    workflow = Workflow("asking")
    workflow.step("ask", lambda ctx: wait("answer"), pure=True, cache=Cache())
    for id in ("a", "b"):
        assert (await engine.execute(workflow, id=id)).status is WorkflowStatus.SUSPENDED
        result = await engine.signal(id, "answer", id)
        assert result is not None
        assert step_of(result, "ask").output == id


async def test_key_that_raises(engine: FluxEngine) -> None:
    """A key function that raises fails the attempt, and is retried as a handler is."""
    calls: list[int] = []

    def key(ctx: WorkflowContext) -> str:
        calls.append(ctx.attempt)
        raise LookupError("no sku")

    workflow = Workflow("pricing")
    workflow.step("price", lambda ctx: 1, pure=True, cache=Cache(key=key), retries=1, timeout=5)
    result = await engine.execute(workflow)
    assert (result.status, str(result.error)) == (FAILED, "LookupError: no sku")
    assert calls == [1, 2]
    assert step_of(result, "price").outcome is None


async def test_key_that_is_no_json(engine: FluxEngine) -> None:
    """A key that JSON cannot hold fails the step, and says where."""
    workflow = pricing([], Cache(key=lambda ctx: {"sku": {1}}))
    result = await engine.execute(workflow, {"sku": 1})
    assert result.status is FAILED
    assert str(result.error).startswith("NotJSONError: cache.key.sku")


async def test_cache_out_of_reach(
    storage: WorkflowStorage, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache that can be neither read nor written is logged and counts as a miss."""
    asked: list[str] = []
    sharing = Sharing(storage)
    engine = await open_engine(sharing)
    sharing.is_out = True
    with caplog.at_level(logging.ERROR):
        result = await engine.execute(pricing(asked), {"sku": 1}, id="a")
    assert (result.status, asked) == (COMPLETED, ["a"])
    assert [record.message for record in caplog.records] == ["cache.unreadable", "cache.unwritable"]


@pytest.mark.parametrize("text", [b"[]", b"no json", b"null"])
async def test_unreadable_entry(
    storage: WorkflowStorage, open_engine: OpenEngine, text: bytes
) -> None:
    """An entry that makes no sense counts as a miss."""
    asked: list[str] = []
    sharing = Sharing(storage)
    engine = await open_engine(sharing)
    await engine.execute(pricing(asked), {"sku": 1}, id="a")
    sharing.text = text
    result = await engine.execute(pricing(asked), {"sku": 1}, id="b")
    assert (result.status, asked) == (COMPLETED, ["a", "b"])


async def test_crash_before_the_save(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A process that dies after the call and before its save leaves the result to the next."""
    asked: list[str] = []
    workflow = pricing(asked)
    dying = Sharing(storage, die_before=2)
    with pytest.raises(DiedError):
        await (await open_engine(dying, lease=0.1)).execute(workflow, {"sku": 1}, id="a")
    engine = await open_engine(workflows=[workflow])
    result = await engine.result("a", timeout=10)
    assert (result.status, asked) == (COMPLETED, ["a"])
    assert step_of(result, "price").cached
    assert step_of(result, "price").attempt_count == 2


async def test_plain_steps_ask_nothing(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """A workflow without caches and limits reads no shared values."""
    sharing = Sharing(storage)
    engine = await open_engine(sharing)
    await engine.execute(Workflow("plain").step("one", lambda ctx: 1))
    assert sharing.asked == []


async def test_observers_hear_of_it(open_engine: OpenEngine) -> None:
    """The trace of a hit says that it is one."""
    told: list[FluxTraceEvent] = []

    class Sink:
        async def emit(self, event: FluxTraceEvent) -> None:
            told.append(event)

    engine = await open_engine(trace=Sink())
    for id in ("a", "b"):
        await engine.execute(pricing([]), {"sku": 1}, id=id)
    await engine.close()
    completed = [event for event in told if event.type == "step:complete"]
    assert ["cached" in event.meta for event in completed] == [False, True]


async def test_storage_without_values(storage: WorkflowStorage) -> None:
    """A storage that keeps no shared values is refused when the workflow is registered."""
    with pytest.raises(ValuesMissingError, match=r"the cache of step 'price'.*keeps none"):
        FluxEngine(Saves(storage), workflows=[pricing([])])


async def test_refused_when_used(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """So it is when the workflow is first used, and nothing is saved."""
    engine = await open_engine(Saves(storage))
    with pytest.raises(ValuesMissingError, match="its limits"):
        await engine.start(Workflow("order").limit(concurrency=1).step("one", print), id="a")
    assert await engine.count() == 0
