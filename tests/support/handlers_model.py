"""The workflow of a plan: its functions follow their scripts and write their calls down."""

from collections import Counter
from datetime import timedelta
from typing import Any

from flow_plans import HOUR, LONG, Act, Call, FlowPlan, StepPlan, WaitPlan
from flux import (
    CompensationContext,
    OutcomeUnknownError,
    Retry,
    Wait,
    Workflow,
    WorkflowContext,
    done,
    not_done,
    sleep,
    sleep_until,
    wait,
)
from process_model import Process
from reference_state import act_of, ran, undid

Counts = Counter[tuple[str, str]]


def workflow_of(plan: FlowPlan, calls: list[Call], counts: Counts, process: Process) -> Workflow:
    """The workflow of a plan as this process knows it; the scripts are the same for all."""
    hours = plan.deadline
    workflow = Workflow("planned", deadline=None if hours is None else hours * HOUR)
    for step in plan.steps:
        functions = Functions(step, plan, calls, counts, process)
        options: dict[str, Any] = {}
        if step.after is not None:
            options["after"] = step.after
        if step.when is not None:
            options["when"] = functions.when
        if step.is_declared:
            declare(workflow, step, options)
        else:
            workflow.step(step.name, functions.run, **options, **policies(step, functions))
    return workflow


def policies(step: StepPlan, functions: "Functions") -> dict[str, Any]:
    """The options of a step with a handler."""
    options: dict[str, Any] = {
        "retries": back_off(step.retries, step.pause),
        "commit": step.commit,
        "at_most_once": step.at_most_once,
    }
    if step.verify is not None:
        options["verify"] = functions.verify
    if step.undo is not None:
        options["compensate"] = functions.undo
        options["compensate_retries"] = back_off(step.undo_retries, step.pause)
    return options


def declare(workflow: Workflow, step: StepPlan, options: dict[str, Any]) -> None:
    """Add a step that only waits."""
    plan = step.wait
    if plan.signal is None:
        assert plan.hours is not None
        workflow.sleep(step.name, plan.hours * HOUR, **options)
    else:
        workflow.wait(step.name, plan.signal, **terms(plan), **options)


def terms(plan: WaitPlan) -> dict[str, Any]:
    """How long a wait for a signal lasts, and what comes after that."""
    named: dict[str, Any] = {"timeout": None if plan.hours is None else plan.hours * HOUR}
    if plan.goes_on:
        named |= {"on_timeout": "continue", "default": plan.default}
    return named


def back_off(retries: int, pause: float) -> Retry:
    """So many more attempts, always after the same pause."""
    return Retry(retries, initial=pause, factor=1, maximum=2 * LONG, jitter=False)


class Functions:
    """The functions of one step."""

    def __init__(
        self, step: StepPlan, plan: FlowPlan, calls: list[Call], counts: Counts, process: Process
    ) -> None:
        self._step = step
        self._sources = plan.sources(step)
        self._calls = calls
        self._counts = counts
        self._process = process

    async def run(self, ctx: WorkflowContext) -> object:
        before = dict(ctx.data.items())
        outputs = {source: ctx.output(source) for source in self._sources}
        act, number = await self._act("run", ctx, self._step.script, data=before, seen=outputs)
        put(ctx, ran(self._step, number, before))
        match act:
            case Act.RAISES:
                raise ValueError
            case Act.DOUBTS:
                raise OutcomeUnknownError
            case Act.SPOILS:
                return object()
            case Act.WAITS:
                return self._wait(ctx)
            case Act.LOSES:
                self._wait(ctx)
        return {"by": self._step.name, "call": number}

    async def verify(self, ctx: WorkflowContext) -> object:
        act, _ = await self._act("verify", ctx, self._step.verify, data=dict(ctx.data.items()))
        ctx.data[f"{self._step.name} verified"] = True
        match act:
            case Act.RAISES:
                raise LookupError
            case Act.DENIES:
                return not_done
            case Act.SPOILS:
                return None
        return done("found")

    async def undo(self, ctx: CompensationContext) -> object:
        before = dict(ctx.data.items())
        seen = {
            "key": ctx.step_key,
            "outcome": ctx.outcome,
            "output": ctx.output(self._step.name),
            "failure": None if ctx.failure is None else ctx.failure.type,
        }
        act, _ = await self._act("undo", ctx, self._step.undo, data=before, seen=seen)
        put(ctx, undid(self._step, before))
        if act is Act.RAISES:
            raise ValueError
        if act is Act.SPOILS:
            ctx.data["spoilt"] = object()
        return self._wait(ctx) if act is Act.WAITS else None

    def when(self, ctx: WorkflowContext) -> bool:
        if self._process.was_stalled:
            # It does not know yet that others have taken its place; but it has no effect.
            return True
        self._calls.append(Call(what="when", step=self._step.name, key=None))
        act = act_of(self._step.when or (), self._count("when"))
        if act is Act.RAISES:
            raise ValueError
        return act is not Act.DENIES

    def _wait(self, ctx: WorkflowContext) -> Wait:
        plan = self._step.wait
        if plan.signal is not None:
            return wait(plan.signal, **terms(plan))
        assert plan.hours is not None
        if plan.by_date:
            return sleep_until(ctx.now() + timedelta(hours=plan.hours))
        return sleep(timedelta(hours=plan.hours))

    async def _act(
        self, what: str, ctx: WorkflowContext, script: Any, **seen: Any
    ) -> tuple[Act, int]:
        number = self._count(what)
        self._calls.append(
            Call(what=what, step=ctx.step, key=ctx.idempotency_key, attempt=ctx.attempt, **seen)
        )
        await self._process.in_call(self._step)
        return act_of(script or (), number), number

    def _count(self, what: str) -> int:
        self._counts[what, self._step.name] += 1
        return self._counts[what, self._step.name]


def put(ctx: WorkflowContext, made: dict[str, Any]) -> None:
    """Change data key by key, as a handler does."""
    for key in set(ctx.data) - set(made):
        del ctx.data[key]
    for key, value in made.items():
        if key not in ctx.data or ctx.data[key] != value:
            ctx.data[key] = value
