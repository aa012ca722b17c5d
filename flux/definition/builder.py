"""The one builder of workflows: fluent, or with decorators."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self, Unpack, overload

from flux.definition.building import Declared, built
from flux.definition.checks import names_problems
from flux.definition.declared import ErrorHandler, Step, names_in
from flux.definition.layout import Gathering
from flux.definition.nodes import Branch, Child, Each, Group
from flux.definition.policy import Duration
from flux.definition.step import (
    After,
    CallOptions,
    Handler,
    MapOptions,
    PlaceOptions,
    StepKind,
    StepOptions,
    WaitOptions,
)
from flux.definition.wait import OnTimeout, Wait, declared_sleep, declared_wait
from flux.definition.workflow import (
    InputValidator,
    Merge,
    WorkflowDefinition,
    WorkflowDescriptor,
)
from flux.errors import DefinitionError, listing

Member = Any
"""A function, `("name", function)`, a step or the name of one, or a list of these in sequence."""

ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]


class NoDefault:
    """Stands for a default that was not given, where None is one."""

    def __repr__(self) -> str:
        return "no default"


NO_DEFAULT: Final = NoDefault()

_EACH = ("concurrency", "batch_size", "on_item_failure")


class Workflow:
    """Builds a workflow, step by step.

    `input` and `data` may be attrs classes; `data` must be constructible without arguments.
    `validate` gets the (typed) input and refuses it by raising or by returning False.
    `correlate_by` names keys of the input by which `deliver` finds an instance; with `unique` only
    one live instance may have the same values. An instance that has not ended `deadline` (seconds
    or a `timedelta`) after its start fails. With `fail_fast` a step that fails cancels those that
    run beside it, which otherwise may finish. An engine builds the workflow when it is registered;
    after that it takes no more steps.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "1",
        input: type | None = None,
        data: type | None = None,
        validate: InputValidator | None = None,
        correlate_by: str | Iterable[str] = (),
        unique: bool = True,
        deadline: Duration | None = None,
        fail_fast: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self._declared = Declared(
            name=name,
            version=version,
            input=input,
            data=data,
            validate=validate,
            correlate_by=correlate_by,
            unique=unique,
            deadline=deadline,
            fail_fast=fail_fast,
        )
        self._built: WorkflowDefinition | None = None

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} version {self.version!r}, {self.step_count} steps>"

    @property
    def step_count(self) -> int:
        return len(self._declared.steps)

    def input(self, cls: type) -> Self:
        """Type the input with an attrs class."""
        self.refuse_changes()
        self._declared.input = cls
        return self

    def data(self, cls: type) -> Self:
        """Type the data with an attrs class."""
        self.refuse_changes()
        self._declared.data = cls
        return self

    def validate(self, function: InputValidator) -> Self:
        """Check each input with `function`."""
        self.refuse_changes()
        self._declared.validate = function
        return self

    def correlate_by(self, *keys: str, unique: bool = True) -> Self:
        """Let instances be found by these keys of their input."""
        self.refuse_changes()
        self._declared.correlate_by, self._declared.unique = keys, unique
        return self

    def deadline(self, duration: Duration) -> Self:
        """Let instances fail that have not ended so long, seconds or a `timedelta`, after start."""
        self.refuse_changes()
        self._declared.deadline = duration
        return self

    @overload
    def step(self, name: str, handler: Handler, /, **options: Unpack[StepOptions]) -> Self: ...
    @overload
    def step(self, handler: Handler, /) -> Step: ...
    @overload
    def step(
        self, name: str | None = ..., /, **options: Unpack[StepOptions]
    ) -> Callable[[Handler], Step]: ...
    def step(self, first: Any = None, handler: Any = None, /, **options: Any) -> Any:
        """Add a step: `@workflow.step`, `@workflow.step(retries=3)` or `.step("name", handler)`.

        Options: `retries` (a number or a `Retry`), `timeout` (seconds an attempt), `when` (a
        predicate), `commit`, `at_most_once`, `verify`, `compensate`, `compensate_retries`,
        `compensate_timeout`, `unknown_on` (error types that leave the outcome unknown), `after`
        (names; by default the step before), `description`.
        """
        _refuse_unknown(options, StepOptions.__annotations__, "step")
        if handler is not None:
            self._add(first, handler, options)
            return self
        if callable(first):
            return self._add(_name_of(first), first, options)
        return lambda decorated: self._add(first or _name_of(decorated), decorated, options)

    @overload
    def commit(self, name: str, handler: Handler, /, **options: Unpack[StepOptions]) -> Self: ...
    @overload
    def commit(self, handler: Handler, /) -> Step: ...
    @overload
    def commit(
        self, name: str | None = ..., /, **options: Unpack[StepOptions]
    ) -> Callable[[Handler], Step]: ...
    def commit(self, first: Any = None, handler: Any = None, /, **options: Any) -> Any:
        """Add a step that never runs again once it has succeeded; else as `step`."""
        return self.step(first, handler, **{**options, "commit": True})

    def wait(
        self,
        name: str,
        signal: str | None = None,
        timeout: Duration | None = None,
        on_timeout: OnTimeout = "fail",
        default: Any = None,
        **options: Unpack[WaitOptions],
    ) -> Self:
        """Add a step that only waits for `signal`, by default of the step's own name.

        As with `flux.wait`; options: `when`, `after`, `description`.
        """
        _refuse_unknown(options, WaitOptions.__annotations__, "wait")
        waits = declared_wait(name if signal is None else signal, timeout, on_timeout, default)
        return self._add_wait(name, "wait", waits, options)

    def sleep(self, name: str, duration: Duration, **options: Unpack[WaitOptions]) -> Self:
        """Add a step that only sleeps, seconds or a `timedelta`; options as for `wait`."""
        _refuse_unknown(options, WaitOptions.__annotations__, "sleep")
        return self._add_wait(name, "sleep", declared_sleep(duration), options)

    def parallel(
        self,
        name: str,
        members: Sequence[Member],
        *,
        concurrency: int | None = None,
        fail_fast: bool = False,
        after: After | None = None,
    ) -> Self:
        """Let steps run beside each other; what comes next waits for all of them.

        A member is a function, `("name", function)`, a step or the name of one that is declared
        elsewhere, or a list of these that run one after the other. At most `concurrency` run at
        once; with `fail_fast` the failure of one cancels the others. `after=name` means all ends.
        """
        self.refuse_changes()
        told = f"group {name!r}"
        if not isinstance(members, list | tuple):
            self._wrong(f"{told}: {members!r} is no list of members")
            return self
        if after is not None:
            self._wrong(*(f"{told}: {why}" for why in names_problems("after", after)))
        chains = tuple(self._chain(member) for member in members)
        given = None if after is None else names_in(after)
        self._declared.places.append(Gathering(name, chains, after=given))
        group = Group(name, concurrency=concurrency, fail_fast=fail_fast)
        self._declared.groups.append((group, tuple(step for chain in chains for step in chain)))
        return self

    def branch(
        self,
        name: str,
        *,
        on: Callable[[Any], Any],
        cases: Mapping[Any, Member | None],
        default: Member | NoDefault | None = NO_DEFAULT,
        **options: Unpack[PlaceOptions],
    ) -> Self:
        """Let only the steps of one case run: of the key that `on(ctx)` returns.

        A case is what `parallel` takes as a member, or None for nothing; `default` is for a value
        that is no key, without one the branch fails then. `on` is a plain or async function without
        effects; its choice is saved. Branches meet again in whatever comes after them: by default
        the step declared next.
        """
        _refuse_unknown(options, PlaceOptions.__annotations__, "branch")
        self.refuse_changes()
        if not isinstance(cases, Mapping):
            self._wrong(f"branch {name!r}: cases={cases!r} maps no keys to steps")
            return self
        chains = {key: self._chain(member) for key, member in cases.items()}
        otherwise = None if isinstance(default, NoDefault) else self._chain(default)
        branch = Branch(
            on=on,
            cases={key: chain[:1] for key, chain in chains.items()},
            default=None if otherwise is None else otherwise[:1],
        )
        self._append(Step(self, name, _never_called, options, kind="branch", branch=branch))
        every = (*chains.values(), *(() if otherwise is None else (otherwise,)))
        skips = options.get("when") is not None
        self._declared.places.append(Gathering(name, every, begins_at=name, may_be_skipped=skips))
        return self

    @overload
    def map(
        self, name: str, over: Callable[[Any], Any], handler: Handler, **options: Unpack[MapOptions]
    ) -> Self: ...
    @overload
    def map(
        self, name: str, over: Callable[[Any], Any], **options: Unpack[MapOptions]
    ) -> Callable[[Handler], Step]: ...
    def map(
        self, name: str, over: Callable[[Any], Any], handler: Any = None, **options: Any
    ) -> Any:
        """Run a handler once for each item of the list that `over(ctx)` returns, as `ctx.item`.

        Each item has an execution of its own, `name[index]`, saved, retried and compensated alone;
        at most `concurrency` run at once. With `batch_size` it is one execution for so many items,
        `ctx.items`, and the handler returns a list of as many results (or None). When an item fails
        for good, `on_item_failure` says whether the map "continue"s with the others and tells of it
        in its output, "stop"s beginning them (the default), or "cancel"s those that run. The output
        is `{"results": [...], "succeeded": n, "failed": m, "errors": [{"index", "type",
        "message"}]}`, results in the order of the items. Further options as for `step`.
        """
        _refuse_unknown(options, MapOptions.__annotations__, "map")
        own = {key: options.pop(key) for key in tuple(options) if key in _EACH}
        each = Each(over=over, **own)
        if handler is None:
            return lambda decorated: self._add(name, decorated, options, kind="map", each=each)
        self._add(name, handler, options, kind="map", each=each)
        return self

    def child(
        self,
        name: str,
        workflow: "Workflow | WorkflowDefinition | str",
        *,
        input: Callable[[Any], Any] | None = None,
        output: Callable[[Any], Any] | None = None,
        **options: Unpack[WaitOptions],
    ) -> Self:
        """Run another workflow as a step: an instance of its own, with this one as its parent.

        `input(ctx)` makes its input (by default the input of this one), `output(state)` makes the
        step's output from the child's `WorkflowState` (by default its data). It may wait for days.
        When it fails or is cancelled, the step fails; undoing the step rolls the child back.
        """
        _refuse_unknown(options, WaitOptions.__annotations__, "child")
        self.refuse_changes()
        child = self._child(name, workflow, input, output)
        undone = {**options, "compensate": _never_called}
        self._append(Step(self, name, _never_called, undone, kind="child", child=child))
        return self

    @overload
    def on_error(
        self,
        handler: Handler | str,
        /,
        *,
        steps: Iterable[str] | str | None = ...,
        errors: ErrorTypes = ...,
        name: str | None = ...,
        **options: Unpack[CallOptions],
    ) -> Self: ...
    @overload
    def on_error(
        self,
        /,
        *,
        steps: Iterable[str] | str | None = ...,
        errors: ErrorTypes = ...,
        name: str | None = ...,
        **options: Unpack[CallOptions],
    ) -> Callable[[Handler], Step]: ...
    def on_error(
        self,
        handler: Any = None,
        /,
        *,
        steps: Iterable[str] | str | None = None,
        errors: ErrorTypes = (),
        name: str | None = None,
        **options: Any,
    ) -> Any:
        """Run `handler` when one of `steps` (by default any) fails for good with one of `errors`.

        The instance has not failed then. What comes after the failed step does not run; what is
        declared `after` the handler does. The handler is a step like any other: a function with the
        options of a step, or the name of a step; `ctx.failure` is the error. A step's own fallback
        goes first, then handlers in the order of declaration.
        """
        _refuse_unknown(options, CallOptions.__annotations__, "on_error")
        self.refuse_changes()
        if isinstance(steps, Iterable) and not isinstance(steps, str):
            steps = tuple(steps)
        if steps is not None:
            self._wrong(*(f"on_error: {why}" for why in names_problems("steps", steps)))
        covered = None if steps is None else names_in(steps)
        types = errors if isinstance(errors, tuple) else (errors,)

        def declare(decorated: Any) -> Step:
            step = self._add(name or _name_of(decorated), decorated, options)
            self._declared.handlers.append(ErrorHandler(step.name, covered, types))
            return step

        if handler is None:
            return declare
        if isinstance(handler, str):
            if given := [*options, *(["name"] if name is not None else [])]:
                told = f"on_error({handler!r}) takes no {listing(given)}"
                self._wrong(f"{told}: give them where the step is declared")
            self._declared.handlers.append(ErrorHandler(handler, covered, types))
        else:
            declare(handler)
        return self

    def merge(self, key: str, function: Merge) -> Self:
        """Let steps that run beside each other write one key of the data.

        `function(first, second)` makes one value of the values of two steps, in the order of their
        completion, or of a merged one and a third. Without it, different values fail the instance
        with `DataConflictError`.
        """
        self.refuse_changes()
        if not isinstance(key, str):
            self._wrong(f"merge: {key!r} is no key of the data")
        elif key in self._declared.merges:
            self._wrong(f"merge({key!r}) was given before")
        else:
            self._declared.merges[key] = function
        return self

    def limit(
        self,
        key: Callable[[Any], Any] | None = None,
        *,
        concurrency: int | None = None,
        rate: str | None = None,
    ) -> Self:
        """Bound how many instances with the same `key(ctx)` are at work, on one storage.

        Of those that have begun and not ended, waits included, there are at most `concurrency`; no
        more begin than `rate` says ("100/m"; s, m, h, d). The others are due when their turn comes,
        in the order of arrival. The key is a JSON value made of `ctx.input`; without it all
        instances of the workflow count together.
        """
        self.refuse_changes()
        self._declared.limits.append((key, concurrency, rate))
        return self

    def build(self) -> WorkflowDefinition:
        """The finished workflow; `DefinitionError` with all its problems if it makes no sense."""
        if self._built is None:
            self._built = built(self._declared)
        return self._built

    def describe(self) -> WorkflowDescriptor:
        """Name, version and steps as plain values."""
        return self.build().describe()

    def _wrong(self, *problems: str) -> None:
        """What makes no sense is told when the workflow is built, with all the rest."""
        self._declared.problems += problems

    def refuse_changes(self) -> None:
        """Raise if the workflow was built already."""
        if self._built is not None:
            raise DefinitionError(self.name, ["it was built already; declare all steps before"])

    def _add(
        self,
        name: str,
        handler: Handler,
        options: dict[str, Any],
        *,
        kind: StepKind = "step",
        each: Each | None = None,
    ) -> Step:
        self.refuse_changes()
        plain = handler.handler if isinstance(handler, Step) else handler
        step = Step(self, name, plain, options, kind=kind, each=each)
        self._append(step)
        self._declared.places.append(name)
        return step

    def _append(self, step: Step) -> None:
        self._declared.steps.append(step)
        if step.kind in ("branch", "child"):
            self._declared.places.append(step.name)

    def _add_wait(self, name: str, kind: StepKind, waits: Wait, options: Any) -> Self:
        async def waiting(ctx: Any) -> Wait:
            return waits

        self.refuse_changes()
        self._declared.steps.append(Step(self, name, waiting, options, kind=kind, waits=waits))
        self._declared.places.append(name)
        return self

    def _chain(self, member: Member | None) -> tuple[str, ...]:
        """The names of the steps of a member, which are declared by that if they are not yet."""
        if member is None:
            return ()
        if isinstance(member, list):
            return tuple(name for one in member for name in self._chain(one))
        if isinstance(member, str):
            return (member,)
        if isinstance(member, Step):
            if member.workflow is not self:
                problem = f"{member!r} is no step of it"
                raise DefinitionError(self.name, [problem])
            return (member.name,)
        if isinstance(member, tuple) and len(member) == 2:
            return (self._add(member[0], member[1], {}).name,)
        if callable(member):
            return (self._add(_name_of(member), member, {}).name,)
        raise TypeError(
            f"{member!r} is no member: give a function, ('name', function), a step or its name, "
            "or a list of these"
        )

    def _child(
        self,
        name: str,
        workflow: "Workflow | WorkflowDefinition | str",
        input: Callable[[Any], Any] | None,
        output: Callable[[Any], Any] | None,
    ) -> Child:
        if workflow is self:
            problem = f"step {name!r}: a workflow cannot contain itself; give its name to"
            raise DefinitionError(self.name, [f"{problem} let it, to a bounded depth"])
        if isinstance(workflow, str):
            return Child(workflow=workflow, input=input, output=output)
        known = workflow.build() if isinstance(workflow, Workflow) else workflow
        if not isinstance(known, WorkflowDefinition):
            told = f"{workflow!r} is neither a workflow nor the name of one"
            raise TypeError(f"child({name!r}): {told}")
        self._declared.children.append(known)
        return Child(workflow=known.name, version=known.version, input=input, output=output)


def create_workflow(name: str) -> Workflow:
    """A new, empty `Workflow`, for people who come from the original."""
    return Workflow(name)


def _name_of(handler: Any) -> str:
    name = getattr(handler, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise TypeError(f"{handler!r} has no name of its own; write step('name', handler)")
    return name


def _refuse_unknown(options: Mapping[str, Any], known: Any, verb: str) -> None:
    for name in options:
        if name not in known:
            import difflib  # late: only a mistake needs it

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
            raise TypeError(f"{verb}() has no option {name!r}{hint}")


def _never_called(ctx: Any) -> None:
    raise AssertionError(f"step {ctx.step!r} has no handler of its own")
