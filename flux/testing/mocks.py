"""What runs in the place of a step's function, as a test has said."""

import inspect
import math
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from flux.clock import Clock
from flux.definition.policy import Duration, seconds
from flux.definition.step import Handler, step_of
from flux.definition.wait import Wait
from flux.engine.context import WorkflowContext
from flux.errors import StepTimeoutError
from flux.testing.activity import Activity

AnyError = BaseException | type[BaseException]


class Mock:
    """What runs in the place of a handler or a compensator.

    `calls` holds the contexts of the calls, in order: what the real one would have seen.
    """

    def __init__(
        self,
        function: Handler | None = None,
        *,
        returns: Any = None,
        raises: AnyError | None = None,
        takes: Duration = 0,
    ) -> None:
        if sum(given is not None for given in (function, returns, raises)) > 1:
            raise ValueError("a mock is one of these: a function, returns=, raises=")
        if function is not None and not callable(function):
            raise TypeError(f"{function!r} is no function of the context; a value is returns=")
        if raises is not None:
            checked_error(raises)
        self.calls: list[WorkflowContext] = []
        self.takes = math.inf if takes == math.inf else seconds(takes)
        """Seconds of the test's clock that a call takes."""
        self._function = function
        self._returns = returns
        self._raises = raises

    def answer(self, ctx: WorkflowContext) -> Any:
        """What the call comes to: a value, an awaitable, or what it raises."""
        if self._raises is not None:
            raise _anew(self._raises)
        return self._returns if self._function is None else self._function(ctx)


@frozen(kw_only=True)
class Role:
    """A function of a step: its handler, its compensator, or the choice of a branch.

    An attempt of it times out after `limit` seconds; None says never.
    """

    workflow: str
    step: str
    real: Handler
    limit: float | None = None
    undoes: bool = False


class Script:
    """What a test has said: who stands in for whom, and which attempts are to fail."""

    def __init__(self, clock: Clock, activity: Activity) -> None:
        self._clock = clock
        self._activity = activity
        self._mocks: dict[tuple[str, str, bool], Mock] = {}
        self._failures: dict[tuple[str, str, bool, int], AnyError] = {}

    def mock(self, workflow: str, step: str, mock: Mock, *, undoes: bool) -> None:
        """Let it stand in for a function from its next call on."""
        self._mocks[workflow, step, undoes] = mock

    def fail(
        self, workflow: str, step: str, error: AnyError, attempts: Iterable[int], *, undoes: bool
    ) -> None:
        """Let these attempts of a function raise this."""
        checked_error(error)
        for attempt in attempts:
            self._failures[workflow, step, undoes, attempt] = error

    def is_mocked(self, workflow: str, step: str, *, undoes: bool = False) -> bool:
        return self._mock(workflow, step, undoes) is not None

    def is_real(self, workflow: str, step: str, attempt: int, *, undoes: bool) -> bool:
        """Whether this attempt is made by the function that the workflow was built with."""
        fails = self._failure(workflow, step, undoes, attempt) is not None
        return not fails and not self.is_mocked(workflow, step, undoes=undoes)

    def play(self, role: Role, ctx: WorkflowContext) -> Any:
        """Call who has the role now; what comes back may be awaitable."""
        failure = self._failure(role.workflow, ctx.step, role.undoes, ctx.attempt)
        if failure is not None:
            raise _anew(failure)
        mock = self._mock(role.workflow, ctx.step, role.undoes)
        if mock is None:
            return role.real(ctx)
        mock.calls.append(ctx)
        return self._taking_time(mock, role, ctx) if mock.takes else mock.answer(ctx)

    def _mock(self, workflow: str, step: str, undoes: bool) -> Mock | None:
        own = self._mocks.get((workflow, step, undoes))
        return own or self._mocks.get((workflow, step_of(step), undoes))

    def _failure(self, workflow: str, step: str, undoes: bool, attempt: int) -> AnyError | None:
        own = self._failures.get((workflow, step, undoes, attempt))
        if own is not None:
            return own
        return self._failures.get((workflow, step_of(step), undoes, attempt))

    async def _taking_time(self, mock: Mock, role: Role, ctx: WorkflowContext) -> Any:
        is_late = role.limit is not None and mock.takes > role.limit
        with self._activity.asleep(ctx.id, ctx.step):
            await self._clock.sleep(role.limit or 0.0 if is_late else mock.takes)
        if is_late:
            # What the engine does when its own time for a handler has run out.
            ctx.cancel()
            raise StepTimeoutError(f"step {ctx.step!r}", role.limit or 0.0)
        return await settled(mock.answer(ctx))


def checked_error(error: AnyError) -> AnyError:
    """The error given, or `TypeError` for what cannot be raised."""
    kind = error if isinstance(error, type) else type(error)
    if not issubclass(kind, BaseException):
        raise TypeError(f"{error!r} cannot be raised; give an error, as ConnectionError('down')")
    return error


def _anew(error: AnyError) -> AnyError:
    """The error, without what raising it before has left on it."""
    return error.with_traceback(None) if isinstance(error, BaseException) else error


async def settled(value: Any) -> Any:
    """The value, awaited if it can be; a wait only looks so."""
    return await value if inspect.isawaitable(value) and not isinstance(value, Wait) else value
