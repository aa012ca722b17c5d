"""`ctx.storage`: values that all workflows on a storage share."""

from typing import Any

import pytest

from flux import FluxEngine, Workflow, WorkflowContext, WorkflowStatus
from flux.testing import ManualClock
from opening import OpenEngine
from sagas import step_of


async def output(engine: FluxEngine, handler: Any) -> Any:
    """What a step with this handler returns."""
    result = await engine.execute(Workflow(handler.__name__).step("run", handler))
    assert result.status is WorkflowStatus.COMPLETED, result.error
    return step_of(result, "run").output


async def test_what_one_workflow_sets_another_gets(engine: FluxEngine) -> None:
    """From an async handler and from a plain one, in its thread."""

    async def write(ctx: WorkflowContext) -> None:
        await ctx.storage.set("rate", {"eur": 1.1})

    def read(ctx: WorkflowContext) -> Any:
        return ctx.storage.get("rate"), ctx.storage.get("other", "none")

    await output(engine, write)
    assert await output(engine, read) == [{"eur": 1.1}, "none"]


async def test_compare_and_set_has_one_winner(engine: FluxEngine) -> None:
    """None stands for no value; what somebody else has changed is left alone."""

    async def race(ctx: WorkflowContext) -> list[bool]:
        shared = ctx.storage
        return [
            await shared.compare_and_set("lock", None, "a"),
            await shared.compare_and_set("lock", None, "b"),
            await shared.compare_and_set("lock", "b", "c"),
            await shared.compare_and_set("lock", "a", {"by": [1]}),
            await shared.compare_and_set("lock", await shared.get("lock"), "d"),
        ]

    assert await output(engine, race) == [True, False, False, True, True]


async def test_plain_handlers_compare_and_delete(engine: FluxEngine) -> None:
    """They have the same calls, without awaiting."""

    def use(ctx: WorkflowContext) -> Any:
        shared = ctx.storage
        shared.set("n", 1)
        return shared.compare_and_set("n", 1, 2), shared.delete("n"), shared.delete("n")

    assert await output(engine, use) == [True, True, False]


async def test_a_value_ends_with_its_ttl(open_engine: OpenEngine) -> None:
    """After so many seconds it is gone."""
    clock = ManualClock()
    engine = await open_engine(clock=clock)

    async def write(ctx: WorkflowContext) -> None:
        await ctx.storage.set("token", "t", ttl=60)

    async def read(ctx: WorkflowContext) -> Any:
        return await ctx.storage.get("token")

    await output(engine, write)
    clock.advance(59)
    assert await output(engine, read) == "t"
    clock.advance(2)
    assert await output(engine, read) is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("k", None, "a shared value is never None"),
        ("", 1, "is no key of a shared value"),
        ("k", {1: 2}, "keys must be str"),
        ("k", float("nan"), "value"),
    ],
)
async def test_bad_values_are_refused(
    engine: FluxEngine, key: str, value: Any, message: str
) -> None:
    """The step fails and says why; nothing is set."""

    async def write(ctx: WorkflowContext) -> None:
        await ctx.storage.set(key, value)

    result = await engine.execute(Workflow("bad").step("run", write))
    assert result.status is WorkflowStatus.FAILED
    assert message in str(result.error)
