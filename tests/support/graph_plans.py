"""Plans of graphs whose handlers follow a script, and the workflows that are built of them.

A plan is plain frozen data: its repr, as a failing test prints it, can be pasted into a test.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, Literal, Protocol, cast

import attrs
from attrs import frozen

from flux import OutcomeUnknownError, Workflow, WorkflowContext

BY_INDEX = -1
"""Stands for the index of the item, as a value to write."""


class BoomError(Exception):
    """What a handler raises."""


class SlipError(Exception):
    """What it raises else."""


class Act(StrEnum):
    """What one attempt of a handler does."""

    WELL = "well"
    BOOMS = "booms"
    SLIPS = "slips"
    DOUBTS = "doubts"
    """It raises `OutcomeUnknownError`."""

    def __str__(self) -> str:
        return f"Act.{self.name}"


ERRORS: dict[Act, type[Exception]] = {
    Act.BOOMS: BoomError,
    Act.SLIPS: SlipError,
    Act.DOUBTS: OutcomeUnknownError,
}

Script = tuple[Act, ...]
"""What the first attempts do; all later ones go well."""


def act_of(script: Script, attempt: int) -> Act:
    """What the attempt of this number, from 1, does."""
    return script[attempt - 1] if attempt <= len(script) else Act.WELL


class Shown:
    """Shows what is not as it is by default, so that a plan can be read, and pasted into a test."""

    def __repr__(self) -> str:
        fields: Iterable[Any] = attrs.fields(cast(Any, type(self)))
        shown = ((field.name, getattr(self, field.name), field.default) for field in fields)
        texts = (f"{name}={_shown(value)}" for name, value, default in shown if value != default)
        return f"{type(self).__name__}({', '.join(texts)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def _shown(value: object) -> str:
    if isinstance(value, Act):
        return str(value)
    if isinstance(value, tuple):
        inner = ", ".join(map(_shown, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


@frozen(kw_only=True, repr=False)
class Cases(Shown):
    """What a branch chooses between: the chains of its cases, by number.

    `choice` is what its selector returns; None lets it raise. `default` of None is for none.
    """

    chains: tuple[tuple[str, ...], ...]
    default: tuple[str, ...] | None = None
    choice: int | None = 0

    @property
    def chosen(self) -> int | None:
        """The number of the case; None for the default, or for nothing."""
        known = self.choice is not None and self.choice < len(self.chains)
        return self.choice if known else None

    @property
    def fails(self) -> bool:
        """Whether it raises, or there is no case for what it returns."""
        return self.choice is None or (self.chosen is None and self.default is None)

    @property
    def begun(self) -> tuple[str, ...]:
        """The chain that was chosen."""
        return (self.default or ()) if self.chosen is None else self.chains[self.chosen]

    @property
    def all_chains(self) -> tuple[tuple[str, ...], ...]:
        return (*self.chains, self.default or ())


@frozen(kw_only=True, repr=False)
class Items(Shown):
    """What a map runs over: so many numbers, each call with a script of its own.

    `count` of None lets it return what is no list.
    """

    count: int | None
    scripts: tuple[Script, ...] = ()
    concurrency: int | None = None
    batch_size: int | None = None
    on_item_failure: Literal["continue", "stop", "cancel"] = "stop"

    @property
    def calls(self) -> int:
        """How many calls there are, of an item or a batch each."""
        return -(-(self.count or 0) // (self.batch_size or 1))

    def batch(self, index: int) -> tuple[int, ...]:
        """The items of the call with this index."""
        size = self.batch_size or 1
        return tuple(range(self.count or 0))[index * size : (index + 1) * size]

    def script(self, index: int) -> Script:
        return self.scripts[index] if index < len(self.scripts) else ()


@frozen(kw_only=True, repr=False)
class Node(Shown):
    """A step, a branch if it has cases, a map if it has items.

    `when` is what its predicate says; "raises" lets it raise. `writes` are keys of the data with
    values; None deletes. `undo` is what its compensator does, if it has one.
    """

    name: str
    after: tuple[str, ...] | None = None
    join: Literal["all", "any"] | int | None = None
    when: bool | Literal["raises"] | None = None
    script: Script = ()
    retries: int = 0
    writes: tuple[tuple[str, int | None], ...] = ()
    undo: Act | None = None
    continues: bool = False
    fallback: str | None = None
    cases: Cases | None = None
    items: Items | None = None

    def written(self, index: int) -> Iterator[tuple[str, int | None]]:
        """What it writes, or its item of this index."""
        for key, value in self.writes:
            yield key, index if value == BY_INDEX else value


@frozen(kw_only=True, repr=False)
class GroupPlan(Shown):
    name: str
    chains: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] | None = None
    concurrency: int | None = None
    fail_fast: bool = False


@frozen(kw_only=True, repr=False)
class HandlerPlan(Shown):
    """Which step handles the errors of which, None for any; without `errors` all of them."""

    step: str
    steps: tuple[str, ...] | None = None
    errors: tuple[Act, ...] = ()


@frozen(kw_only=True, repr=False)
class GraphPlan(Shown):
    """All that is declared, in that order; `merges` are keys, `most` is max_parallel_steps."""

    declared: tuple[Node | GroupPlan | HandlerPlan, ...]
    merges: tuple[str, ...] = ()
    fail_fast: bool = False
    most: int = 50

    @property
    def nodes(self) -> dict[str, Node]:
        return {one.name: one for one in self.declared if isinstance(one, Node)}

    @property
    def groups(self) -> dict[str, GroupPlan]:
        return {one.name: one for one in self.declared if isinstance(one, GroupPlan)}

    @property
    def handlers(self) -> list[HandlerPlan]:
        return [one for one in self.declared if isinstance(one, HandlerPlan)]


def merged(first: object, second: object) -> str:
    """The merge of all keys that have one; it shows in which order it was called."""
    return f"({first}+{second})"


class Stage(Protocol):
    """Where the handlers act."""

    async def enter(self, what: str, ctx: WorkflowContext) -> None:
        """Wait until the call may go on."""

    def asked(self, what: str) -> None:
        """Take note that a function without effects was asked."""


def workflow_of(plan: GraphPlan, stage: Stage) -> Workflow:
    """The workflow of the plan; `DefinitionError` if it makes no sense."""
    workflow = Workflow("graph", fail_fast=plan.fail_fast)
    for one in plan.declared:
        if isinstance(one, Node):
            _declare(workflow, one, stage)
        elif isinstance(one, GroupPlan):
            members = [list(chain) for chain in one.chains]
            workflow.parallel(
                one.name,
                members,
                concurrency=one.concurrency,
                fail_fast=one.fail_fast,
                after=one.after,
            )
        else:
            errors = tuple(ERRORS[act] for act in one.errors)
            workflow.on_error(one.step, steps=one.steps, errors=errors)
    for key in plan.merges:
        workflow.merge(key, merged)
    return workflow


def _declare(workflow: Workflow, node: Node, stage: Stage) -> None:
    options: dict[str, Any] = {"after": node.after, "join": node.join}
    if node.when is not None:
        options["when"] = _answering(stage, f"when {node.name}", node.when)
    if node.cases is None:
        options["fallback"] = node.fallback
        options["retries"] = node.retries
        options["compensate"] = None if node.undo is None else _undoing(node, stage)
    options = {name: value for name, value in options.items() if value is not None}
    if node.cases is not None:
        if node.cases.default is not None:
            options["default"] = list(node.cases.default)
        workflow.branch(
            node.name,
            on=_answering(stage, f"on {node.name}", _or_raise(node.cases.choice)),
            cases={number: list(chain) for number, chain in enumerate(node.cases.chains)},
            **options,
        )
        return
    if node.continues:
        options["on_error"] = "continue"
    if node.items is None:
        workflow.step(node.name, _acting(node, stage), **options)
        return
    for name in ("concurrency", "batch_size", "on_item_failure"):
        options[name] = getattr(node.items, name)
    found: object = None if node.items.count is None else list(range(node.items.count))
    over = _answering(stage, f"over {node.name}", found)
    workflow.map(node.name, over, _acting(node, stage), **options)


def _or_raise(answer: object) -> object:
    return "raises" if answer is None else answer


def _answering(stage: Stage, what: str, answer: object) -> Callable[[WorkflowContext], object]:
    def function(ctx: WorkflowContext) -> object:
        stage.asked(what)
        if answer == "raises":
            raise BoomError(what)
        return answer

    return function


def _acting(node: Node, stage: Stage) -> Callable[[WorkflowContext], Any]:
    async def handler(ctx: WorkflowContext) -> object:
        index = -1 if node.items is None else ctx.index
        await stage.enter("do", ctx)
        act = act_of(node.script if node.items is None else node.items.script(index), ctx.attempt)
        if act is not Act.WELL:
            raise ERRORS[act](f"{ctx.step}#{ctx.attempt}")
        for key, value in node.written(index):
            if value is None:
                ctx.data.pop(key, None)
            else:
                ctx.data[key] = value
        if node.items is not None and node.items.batch_size is not None:
            return [f"{item}#{ctx.attempt}" for item in ctx.items]
        return f"{ctx.step}#{ctx.attempt}"

    return handler


def _undoing(node: Node, stage: Stage) -> Callable[[WorkflowContext], Any]:
    async def compensator(ctx: WorkflowContext) -> None:
        await stage.enter("undo", ctx)
        if node.undo is not Act.WELL:
            raise BoomError(f"undo {ctx.step}")

    return compensator
