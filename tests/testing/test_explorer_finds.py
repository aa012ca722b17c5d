"""The crash explorer on what is broken on purpose: each fault is found, and named."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from flux import Checkpoint, Workflow, WorkflowContext, WorkflowStorage
from flux.testing import CrashFinding, CrashReport, ManualClock, explore, signal
from flux_storages import MemoryStorage


def found(report: CrashReport) -> set[tuple[str | None, str, str | None]]:
    """Seed, rule and step of every finding."""
    assert not report.ok
    return {(finding.seed, finding.rule, finding.step) for finding in report.findings}


def only(findings: Sequence[CrashFinding]) -> CrashFinding:
    (finding,) = findings
    return finding


async def nothing(ctx: Any) -> None:
    """A handler without effects."""


async def test_effect_is_not_idempotent() -> None:
    """A step that acts again, though its result was merely not saved, changes the world twice."""
    charged: list[int] = []

    async def charge(ctx: WorkflowContext) -> None:
        charged.append(ctx.input["total"])

    order = Workflow("order").step("pick", nothing).commit("charge", charge).step("ship", nothing)
    report = await explore(order, {"total": 40}, effects=charged)
    finding = only(report.findings)
    assert (finding.seed, finding.rule, finding.step) == ("3:before", "effects", "charge")
    assert finding.difference == "effects: [40,40] instead of [40]"
    assert finding.called_again == ("'charge' (attempts 1, 2)",)


async def test_effect_in_a_thread_is_not_idempotent() -> None:
    """A plain handler is found as well."""
    world = {"stock": 5}

    def pick(ctx: WorkflowContext) -> None:
        world["stock"] -= 1

    report = await explore(Workflow("order").step("pick", pick), effects=world)
    assert found(report) == {("2:before", "effects", "pick")}
    assert report.findings[0].difference == "effects.stock: 3 instead of 4"


async def test_state_in_memory() -> None:
    """What a handler keeps in the memory of its process is missing in the next one."""

    def order() -> Workflow:
        quotes: dict[str, int] = {}

        async def quote(ctx: WorkflowContext) -> None:
            quotes[ctx.id] = 7

        async def charge(ctx: WorkflowContext) -> int:
            return quotes[ctx.id]

        return Workflow("order").step("quote", quote).step("charge", charge)

    report = await explore(order)
    assert ("2:after", "status", "charge") in found(report)
    assert not any(finding.seed == "2:before" for finding in report.findings)
    assert 'status: "failed" instead of "completed"' in str(report)


async def test_state_in_memory_over_a_wait() -> None:
    """The same where the process dies while the instance waits."""

    def order() -> Workflow:
        seen: list[str] = []

        async def remember(ctx: WorkflowContext) -> None:
            seen.append(ctx.id)

        flow = Workflow("order").step("remember", remember).wait("paid")
        return flow.step("tell", lambda ctx: len(seen))

    report = await explore(order, script=[signal("paid")])
    assert ("3:after", "steps", "tell") in found(report)


async def test_predicate_with_an_effect() -> None:
    """A predicate that counts its askings says something else when it is asked again."""
    asked: list[int] = []

    def when(ctx: WorkflowContext) -> bool:
        asked.append(len(asked))
        return len(asked) % 2 == 1

    order = Workflow("order").step("pick", nothing).step("gift", nothing, when=when)
    report = await explore(order, effects=asked)
    assert ("2:before", "effects", "pick") in found(report)
    assert any("steps.gift" in finding.difference for finding in report.findings)


async def test_random_predicate() -> None:
    """One whose answer is another without any crash is told before anything dies."""
    answers = iter([True, False])
    order = Workflow("order").step("gift", nothing, when=lambda ctx: next(answers))
    report = await explore(order)
    assert {finding.seed for finding in report.findings} == {None}
    assert report.points == 0
    assert "another run without a crash" in str(report)


async def test_compensator_is_not_idempotent() -> None:
    """A compensator that undoes twice when it runs twice, where the workflow completes else."""
    stock = {"left": 5}

    async def pick(ctx: WorkflowContext) -> None:
        stock["left"] = 4

    async def put_back(ctx: Any) -> None:
        stock["left"] += 1

    order = Workflow("order").step("pick", pick, compensate=put_back)
    report = await explore(order, effects=stock)
    assert found(report) == {("rollback:4:before", "effects", "pick")}
    assert report.findings[0].called_again == ("the undoing of 'pick' (attempts 1, 2)",)
    assert (await explore(order, effects=stock, rollback=False)).ok


async def test_compensator_of_what_never_happened() -> None:
    """A compensator that fails where its step has done nothing."""
    picked: dict[str, bool] = {}

    async def pick(ctx: WorkflowContext) -> None:
        raise RuntimeError("out of stock")

    async def put_back(ctx: Any) -> None:
        del picked[ctx.step_key]

    order = Workflow("order").step("pick", pick, compensate=put_back)
    report = await explore(order, effects=picked)
    told = {f.seed: f.difference for f in report.findings if f.rule == "status"}
    expected = 'status: "rollback_failed" instead of "failed"'
    assert told == dict.fromkeys(["1:after", "1:error", "2:before"], expected)


class Losing(MemoryStorage):
    """A storage that acknowledges its third save and keeps nothing of it."""

    saves = 0

    async def save(self, checkpoint: Checkpoint) -> int:
        self.saves += 1
        return 0 if self.saves == 3 else await super().save(checkpoint)


async def test_storage_loses_a_save() -> None:
    """A step whose result was acknowledged runs again."""
    order = Workflow("order")
    for name in "abcd":
        order.step(name, nothing)
    report = await explore(order, storage=Losing)
    assert found(report) == {(None, "ran-again", "c")}
    assert report.findings[0].difference == "'c' ran again although its result was in save 4"


class Forgetting(MemoryStorage):
    """A storage that keeps an instance whole, but for what the end of its rollback said."""

    async def save(self, checkpoint: Checkpoint) -> int:
        if checkpoint.status == "rolled_back":
            return 0
        return await super().save(checkpoint)


async def test_storage_loses_an_undoing() -> None:
    """A compensator whose end was acknowledged runs again."""
    order = Workflow("order").step("a", nothing, compensate=nothing)
    report = await explore(order, storage=Forgetting)
    assert found(report) == {(None, "undone-again", "a")}


class Careless(MemoryStorage):
    """A storage that keeps the end of a rollback, and not what was undone in it."""

    async def save(self, checkpoint: Checkpoint) -> int:
        if checkpoint.status == "rolled_back":
            checkpoint = evolve(checkpoint, entries=())
        return await super().save(checkpoint)


async def test_rollback_ends_too_early() -> None:
    """A rollback that ends while a step still stands is told."""
    order = Workflow("order").step("a", nothing, compensate=nothing)
    report = await explore(order, storage=Careless)
    assert found(report) == {(None, "not-undone", "a")}


async def test_child_is_missing() -> None:
    """A sub-workflow that only one of two runs has is a difference."""
    choices = iter(["begin", "leave"])
    inner = Workflow("inner").step("a", nothing)
    order = Workflow("order").branch(
        "route", on=lambda ctx: next(choices), cases={"begin": [("child", nothing)], "leave": None}
    )
    order.child("inner", inner, when=lambda ctx: ctx.output("route") == "begin")
    report = await explore(order)
    told = 'children.order:inner:1 is missing; without a crash it is "completed"'
    assert told in str(report)


async def test_leases_that_never_run_out() -> None:
    """An instance that nobody goes on with is stuck."""

    def stopped() -> WorkflowStorage:
        return MemoryStorage(clock=ManualClock())

    order = Workflow("order").step("a", nothing).step("b", nothing)
    report = await explore(order, storage=stopped, only="2:after")
    assert ("2:after", "stuck", "b") in found(report)
    assert "instance 'order' is stuck: running" in str(report)


@pytest.mark.parametrize("pattern", ["data.token", "data.*", "*.token"])
async def test_ignored_differences(pattern: str) -> None:
    """What may differ is left out by its path."""
    tokens = iter(range(100))

    async def draw(ctx: WorkflowContext) -> None:
        ctx.data["token"] = next(tokens)

    order = Workflow("order").step("draw", draw)
    assert not (await explore(order)).ok
    assert (await explore(order, ignore=[pattern])).ok


async def test_signal_is_refused_after_a_crash() -> None:
    """An action that only some runs can take is a difference."""
    crashes: list[int] = []

    async def decide(ctx: WorkflowContext) -> None:
        if ctx.attempt > 1:
            raise RuntimeError("only once")

    order = Workflow("order").step("decide", decide).wait("paid")
    report = await explore(order, effects=crashes, script=[signal("paid")], only="2:before")
    refused = next(finding for finding in report.findings if finding.rule == "refused")
    assert refused.difference.startswith("signal('paid') was refused: ")


async def test_compensator_that_needs_an_output() -> None:
    """Where an at-most-once step gives up, a compensator must bear that there is no output."""

    async def charge(ctx: WorkflowContext) -> dict[str, int]:
        return {"receipt": 7}

    async def refund(ctx: Any) -> None:
        ctx.data["refunded"] = ctx.output("charge")["receipt"]

    order = Workflow("order").step("charge", charge, at_most_once=True, compensate=refund)
    report = await explore(order, rollback=False)
    assert report.given_up == ("1:after", "1:error", "2:before")
    assert [(one.seed, one.difference) for one in report.findings] == [
        (seed, 'status: "rollback_failed" instead of "completed"') for seed in report.given_up
    ]
