"""Every error that Flux raises.

FluxError
├── DefinitionError            ValueError     a workflow that makes no sense
├── WorkflowConflictError      ValueError     two workflows under one name and version
├── UnknownWorkflowError       LookupError    no such workflow is registered
├── UnknownStepError           LookupError    the workflow has no such step
├── StepNotCompletedError      LookupError    the step has no result (yet)
├── InputError                 ValueError     an input that the workflow refuses
├── NotJSONError               TypeError      a value that JSON would change
├── InstanceNotFoundError      LookupError    no such instance is stored
│   └── NothingCorrelatedError -              no live instance has the correlation
├── InstanceConflictError      ValueError     the id belongs to another run
│   └── CorrelationTakenError  -              a live instance has the same correlation
├── CorrelationError           ValueError     a correlation that can find nothing
├── AmbiguousCorrelationError  LookupError    several live instances fit
├── SignalConflictError        ValueError     a known signal id with another signal
├── InvalidTransitionError     RuntimeError   the verb does not fit the status
├── InstanceEndedError         RuntimeError   the instance is over
├── DefinitionChangedError     RuntimeError   the code no longer fits what was done
├── StepCompensatedError       RuntimeError   a restart from after an undone step
├── ResultTimeoutError         TimeoutError   the instance has not ended in time
├── EngineClosedError          RuntimeError   a verb on an engine that is not open
├── StepTimeoutError           TimeoutError   an attempt took longer than it may
├── OutcomeUnknownError        RuntimeError   nobody knows whether the step acted
├── HandlerCancelledError      RuntimeError   a handler was cancelled, or cancelled itself
├── WaitNotReturnedError       RuntimeError   a handler made a wait and did not return it
├── CannotWaitError            TypeError      a compensator or a verifier returned a wait
├── WaitTimeoutError           TimeoutError   a signal did not come in time
├── DataConflictError          ValueError     parallel steps wrote different values to one key
├── NoCaseError                LookupError    a branch has no case for the value
├── JoinNotMetError            RuntimeError   too few ways lead to a join
├── NotAListError              TypeError      a map was given something else to run over
├── MapFailedError             RuntimeError   an item of a map failed for good
├── BatchResultError           TypeError      a batch has not as many results as items
├── ChildFailedError           RuntimeError   a sub-workflow did not complete
├── ChildNotUndoneError        RuntimeError   a sub-workflow could not be rolled back
├── TooDeepError               RuntimeError   sub-workflows within sub-workflows without end
├── InstanceCancelledError     RuntimeError   somebody cancelled the instance
├── DeadlineExceededError      TimeoutError   the instance had not ended by its deadline
├── IllegalMoveError           AssertionError a status that cannot follow another
├── StateFormatError           ValueError     stored state that this version cannot read
├── StateUnreadableError       ValueError     stored state that makes no sense
└── StorageError               OSError        the storage could not do it
    ├── StorageURLError        ValueError     a URL that names no storage
    ├── StorageClosedError     RuntimeError   a storage that is not open
    ├── DriverMissingError     RuntimeError   the storage needs a package that is not installed
    ├── ValuesMissingError     RuntimeError   the storage keeps no shared values
    ├── NotADatabaseError      ValueError     the file is something else
    ├── NotARedisError         ValueError     what answers there is something else
    ├── SchemaTooNewError      RuntimeError   written by a newer Flux
    ├── StorageAccessError     PermissionError the server wants a password, or denies a right
    ├── StorageReadOnlyError   PermissionError the server takes no writes
    ├── StorageFullError       -              the disk is full
    ├── StorageBusyError       TimeoutError   others held the lock for too long
    ├── StorageUnavailableError ConnectionError it is down or cannot be reached, for now
    ├── UnseenSignalsError     RuntimeError   a save would end an instance that has unread signals
    ├── StaleInstanceError     RuntimeError   another process took the instance over
    └── UniqueKeyTakenError    ValueError     a live instance holds the key
"""

import builtins
import re
import traceback
from collections.abc import Iterable

from attrs import field

from flux.frozen import frozen


class FluxError(Exception):
    """The root of all errors of Flux."""


class DefinitionError(FluxError, ValueError):
    """A workflow that makes no sense; `problems` lists all that is wrong with it."""

    def __init__(self, workflow: str, problems: Iterable[str]) -> None:
        self.workflow = workflow
        self.problems = tuple(problems)
        listed = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"workflow {workflow!r} cannot be built:\n{listed}")


class WorkflowConflictError(FluxError, ValueError):
    """Two different workflows were registered under one name and version."""

    def __init__(self, workflow: str, version: str) -> None:
        self.workflow = workflow
        self.version = version
        super().__init__(
            f"another workflow {workflow!r} of version {version!r} is registered already; "
            "give the new one another version"
        )


class UnknownWorkflowError(FluxError, LookupError):
    """No workflow of this name is registered with the engine."""

    def __init__(self, workflow: str, registered: Iterable[str]) -> None:
        self.workflow = workflow
        self.registered = tuple(sorted(registered))
        super().__init__(
            f"no workflow {workflow!r} is registered (there are: {listing(self.registered)}); "
            "pass it to FluxEngine(workflows=[...])"
        )


class UnknownStepError(FluxError, LookupError):
    """The workflow has no step of this name."""

    def __init__(self, step: str, workflow: str, steps: Iterable[str]) -> None:
        self.step = step
        self.workflow = workflow
        self.steps = tuple(steps)
        super().__init__(
            f"workflow {workflow!r} has no step {step!r}; its steps are: {listing(self.steps)}"
        )


class StepNotCompletedError(FluxError, LookupError):
    """The step has no result: it has not run, is still running, or failed."""

    def __init__(self, step: str, why: str) -> None:
        self.step = step
        super().__init__(f"step {step!r} has no result: {why}")


class InputError(FluxError, ValueError):
    """The workflow refuses this input; nothing was saved. `field` is a path: `lines[0].sku`."""

    def __init__(self, workflow: str, message: str, *, field: str | None = None) -> None:
        self.workflow = workflow
        self.field = field
        super().__init__(f"workflow {workflow!r} refuses the input: {message}")


class NotJSONError(FluxError, TypeError):
    """A value that would not come back from JSON as it went in; `path` says where it stands."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path}: {why}")


class InstanceNotFoundError(FluxError, LookupError):
    """No instance of this id is stored."""

    def __init__(self, id: str) -> None:
        self.id = id
        super().__init__(f"there is no instance {id!r} in this storage; look with engine.list()")


class NothingCorrelatedError(InstanceNotFoundError):
    """No live instance has this correlation."""

    def __init__(self, correlation: object) -> None:
        self.correlation = correlation
        FluxError.__init__(self, f"there is no live instance with the correlation {correlation!r}")


class InstanceConflictError(FluxError, ValueError):
    """The id, or the unique key, belongs to an instance that is not the same run."""

    def __init__(self, id: str, why: str) -> None:
        self.id = id
        super().__init__(f"instance {id!r} exists already and {why}; use another id")


class CorrelationTakenError(InstanceConflictError):
    """Only one live instance of the workflow may have this correlation; `holder` is its id."""

    def __init__(self, id: str, holder: str) -> None:
        self.id = id
        self.holder = holder
        FluxError.__init__(
            self,
            f"instance {id!r} cannot run: the live instance {holder!r} has the same correlation; "
            "wait for its end, or declare the workflow with unique=False",
        )


class InvalidTransitionError(FluxError, RuntimeError):
    """The status of the instance does not allow this verb; the message names one that fits."""

    def __init__(self, id: str, status: str, verb: str, fits: str) -> None:
        self.id = id
        self.status = status
        self.verb = verb
        self.fits = fits
        super().__init__(f"instance {id!r} is {status}, so it cannot {verb}; {fits}")


class InstanceEndedError(FluxError, RuntimeError):
    """The instance is over: signals and cancels come too late."""

    def __init__(self, id: str, status: str, verb: str) -> None:
        self.id = id
        self.status = status
        self.verb = verb
        super().__init__(
            f"instance {id!r} has ended as {status}, so it cannot {verb}; nothing was changed"
        )


class CorrelationError(FluxError, ValueError):
    """A correlation with an unknown key or a value that cannot be looked up."""

    def __init__(self, key: str, why: str) -> None:
        self.key = key
        super().__init__(f"correlation {key!r}: {why}")


class AmbiguousCorrelationError(FluxError, LookupError):
    """Several live instances fit the correlation; `ids` are some of them."""

    def __init__(self, correlation: object, ids: Iterable[str]) -> None:
        self.correlation = correlation
        self.ids = tuple(ids)
        super().__init__(
            f"several live instances have the correlation {correlation!r}: {listing(self.ids)}; "
            "give more keys or the workflow, or call signal() with an id"
        )


class SignalConflictError(FluxError, ValueError):
    """The signal id is that of another signal; nothing was delivered."""

    def __init__(self, id: str, signal_id: str, earlier: str) -> None:
        self.id = id
        self.signal_id = signal_id
        super().__init__(
            f"instance {id!r} knows the signal id {signal_id!r} already, of a signal {earlier!r} "
            "with another name or payload; give each signal an id of its own"
        )


class DefinitionChangedError(FluxError, RuntimeError):
    """What was done of the instance does not fit the workflow at hand; nothing was changed."""

    def __init__(self, id: str, workflow: str, differences: Iterable[str]) -> None:
        self.id = id
        self.workflow = workflow
        self.differences = tuple(differences)
        listed = "\n".join(f"  - {difference}" for difference in self.differences)
        super().__init__(
            f"instance {id!r} cannot go on with this workflow {workflow!r}:\n{listed}\n"
            "register the version that it was started with beside the new one"
        )


class StepCompensatedError(FluxError, RuntimeError):
    """A restart from after a step that was undone; `earliest` is the first step to restart from."""

    def __init__(self, id: str, step: str, earliest: str) -> None:
        self.id = id
        self.step = step
        self.earliest = earliest
        super().__init__(
            f"instance {id!r} cannot restart from {step!r}: a step before it was compensated; "
            f"restart from {earliest!r}"
        )


class ResultTimeoutError(FluxError, TimeoutError):
    """The instance has not ended in the time given; it goes on unchanged."""

    def __init__(self, id: str, status: str, timeout: float) -> None:
        self.id = id
        self.status = status
        self.timeout = timeout
        super().__init__(
            f"instance {id!r} is still {status} after {timeout:g} s; it goes on, ask again later"
        )


class EngineClosedError(FluxError, RuntimeError):
    """A verb was called on an engine that is not open, or that closed while the verb waited."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        super().__init__(
            f"{verb}: the engine is not open; use it inside a `with` or `async with` block, "
            "or call init()"
        )


class StepTimeoutError(FluxError, TimeoutError):
    """One attempt took longer than its timeout; what it did is unknown."""

    def __init__(self, what: str, timeout: float) -> None:
        self.what = what
        self.timeout = timeout
        super().__init__(f"{what} took longer than {timeout:g} s")


class OutcomeUnknownError(FluxError, RuntimeError):
    """Raised by a handler that cannot tell whether it acted; also kept where nobody can tell."""


class HandlerCancelledError(FluxError, RuntimeError):
    """The handler was cancelled with its instance, or raised `CancelledError` of its own accord."""

    def __init__(self, step: str, *, told: bool = False) -> None:
        self.step = step
        why = "was cancelled" if told else "raised CancelledError, but nobody had cancelled it"
        super().__init__(f"step {step!r} {why}")


class WaitNotReturnedError(FluxError, RuntimeError):
    """A wait works only when a step's handler itself returns it."""

    def __init__(self, what: str, signal: str | None) -> None:
        self.what = what
        self.signal = signal
        made = "a sleep" if signal is None else f"a wait for {signal!r}"
        super().__init__(f"{what} made {made} and did not return it; write `return wait(...)`")


class CannotWaitError(FluxError, TypeError):
    """Only the handler of a step can wait."""

    def __init__(self, step: str) -> None:
        self.step = step
        super().__init__(
            f"step {step!r}: its compensator or verifier returned a wait; only its handler can wait"
        )


class WaitTimeoutError(FluxError, TimeoutError):
    """The signal did not come in time."""

    def __init__(self, step: str, signal: str) -> None:
        self.step = step
        self.signal = signal
        super().__init__(f"step {step!r}: the signal {signal!r} did not come in time")


class DataConflictError(FluxError, ValueError):
    """Steps of which neither comes before the other wrote different values to one key."""

    def __init__(self, first: str, second: str, key: str, why: str = "") -> None:
        self.steps = (first, second)
        self.key = key
        why = why or f"let one come after the other, or declare workflow.merge({key!r}, …)"
        super().__init__(
            f"steps {first!r} and {second!r} run beside each other and wrote different values to "
            f"data[{key!r}]; {why}"
        )


class NoCaseError(FluxError, LookupError):
    """A branch has no case for what its selector returned."""

    def __init__(self, step: str, value: object, cases: Iterable[object]) -> None:
        self.step = step
        self.value = value
        super().__init__(
            f"branch {step!r} has no case for {value!r}; there are: "
            f"{', '.join(map(repr, cases))}; give default= for the rest (None for nothing)"
        )


class JoinNotMetError(FluxError, RuntimeError):
    """Too few ways lead to a join; `missing` are the steps from which none does."""

    def __init__(self, step: str, join: object, missing: Iterable[str]) -> None:
        self.step = step
        self.missing = tuple(missing)
        names = ", ".join(map(repr, self.missing))
        super().__init__(
            f"step {step!r}: join={join!r} can no longer be met, since no way leads on from {names}"
        )


class NotAListError(FluxError, TypeError):
    """What a map is to run over is no list."""

    def __init__(self, step: str, found: object) -> None:
        self.step = step
        super().__init__(
            f"map {step!r}: over returned {type(found).__name__}, it must return a list"
        )


class MapFailedError(FluxError, RuntimeError):
    """An item of a map failed for good, and with it the map; `item` is the item's name."""

    def __init__(self, step: str, item: str, why: object) -> None:
        self.step = step
        self.item = item
        super().__init__(f"map {step!r}: {item} failed: {why}")


class BatchResultError(FluxError, TypeError):
    """The handler of a batch did not return one result for each of its items."""

    def __init__(self, batch: str, items: int, found: object) -> None:
        self.batch = batch
        is_list = isinstance(found, list | tuple)
        told = f"a list of {len(found)}" if is_list else type(found).__name__  # type: ignore[arg-type]
        super().__init__(
            f"{batch} has {items} item{'s' * (items != 1)}, its handler returned {told}; "
            "return a list of as many results, or None"
        )


class ChildFailedError(FluxError, RuntimeError):
    """A sub-workflow did not complete."""

    def __init__(self, step: str, child: str, status: str, why: object = None) -> None:
        self.step = step
        self.child = child
        told = "" if why is None else f" with {why}"
        super().__init__(f"step {step!r}: its child {child!r} ended as {status}{told}")


class ChildNotUndoneError(FluxError, RuntimeError):
    """A sub-workflow that is to be rolled back needs a person first."""

    def __init__(self, step: str, child: str, status: str) -> None:
        self.step = step
        self.child = child
        super().__init__(
            f"step {step!r}: its child {child!r} is {status}; settle that there "
            "(retry_rollback, skip_compensation or resume), then retry the rollback here"
        )


class TooDeepError(FluxError, RuntimeError):
    """A sub-workflow lies in more workflows than the engine allows."""

    def __init__(self, step: str, depth: int) -> None:
        self.step = step
        super().__init__(
            f"step {step!r}: its child would be {depth} workflows deep; "
            "a workflow that contains itself has to end, or raise FluxConfig(max_depth=…)"
        )


class InstanceCancelledError(FluxError, RuntimeError):
    """Somebody cancelled the instance."""

    def __init__(self, id: str, reason: str | None) -> None:
        self.id = id
        self.reason = reason
        super().__init__(f"instance {id!r} was cancelled" + (f": {reason}" if reason else ""))


class DeadlineExceededError(FluxError, TimeoutError):
    """The instance had not ended by the deadline of its workflow."""

    def __init__(self, id: str, deadline: object) -> None:
        self.id = id
        self.deadline = deadline
        super().__init__(f"instance {id!r} had not ended by its deadline, {deadline}")


class IllegalMoveError(FluxError, AssertionError):
    """A move that the table of statuses does not allow: a fault of Flux, not of its user."""

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        super().__init__(f"an instance cannot go from {source} to {target}; please report this")


class StateFormatError(FluxError, ValueError):
    """Stored state whose format this version of Flux does not know."""

    def __init__(self, kind: str, found: object, known: int) -> None:
        self.kind = kind
        self.found = found
        self.known = known
        super().__init__(
            f"the stored {kind} has format {found!r}, this Flux reads formats up to {known}; "
            "upgrade flux-saga"
        )


class StateUnreadableError(FluxError, ValueError):
    """What is stored of an instance makes no sense; it was left as it is."""

    def __init__(self, id: str, why: str) -> None:
        self.id = id
        super().__init__(
            f"what is stored of instance {id!r} cannot be read ({why}); it was left as it is: "
            "look at it with the storage's own tools"
        )


class StorageError(FluxError, OSError):
    """The storage could not do what was asked; what was saved before is still saved."""


class StorageURLError(StorageError, ValueError):
    """The URL names no storage."""

    def __init__(self, url: str, why: str) -> None:
        self.url = _without_password(url)
        super().__init__(
            f"{self.url!r} is no storage: {why}; write memory:, sqlite:///path or redis://host:port/db"
        )


class StorageClosedError(StorageError, RuntimeError):
    """The storage is not open."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        super().__init__(f"{storage} is not open; call init() first, or open it with an engine")


class DriverMissingError(StorageError, RuntimeError):
    """The storage needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        super().__init__(
            f"this storage needs the package {package}, which is not installed; "
            f"pip install 'flux-saga[{extra}]'"
        )


class NotADatabaseError(StorageError, ValueError):
    """The file exists and is something else than a database of Flux; it was not changed."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is not a database of Flux ({why}); it is unchanged, use another path"
        )


class NotARedisError(StorageError, ValueError):
    """Something answers at this address, but it does not speak as Redis does."""

    def __init__(self, storage: str, why: str) -> None:
        self.storage = storage
        self.why = why
        super().__init__(f"{storage} is no Redis ({why}); check host, port and TLS")


class ValuesMissingError(StorageError, RuntimeError):
    """A workflow with caches or limits on a storage that keeps no shared values."""

    def __init__(self, workflow: str, storage: str, needed_for: Iterable[str]) -> None:
        self.workflow = workflow
        self.needed_for = tuple(needed_for)
        super().__init__(
            f"workflow {workflow!r} needs shared values for {listing(self.needed_for)}, and "
            f"{storage} keeps none; use a storage with the methods of SharedValues"
        )


class SchemaTooNewError(StorageError, RuntimeError):
    """The database was written by a newer Flux; it was not changed."""

    def __init__(self, path: str, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(
            f"{path} has schema {found}, this Flux knows schemas up to {known}; "
            "upgrade flux-saga, the database is unchanged"
        )


class StorageAccessError(StorageError, PermissionError):
    """The server wants a password, or another one, or denies this user a right."""

    def __init__(self, storage: str, why: str) -> None:
        self.storage = storage
        self.why = why
        super().__init__(
            f"{storage} denies access ({why}); check user and password, and what the user may do"
        )


class StorageReadOnlyError(StorageError, PermissionError):
    """The server takes no writes: it is a replica, or has become one in a fail-over."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        super().__init__(
            f"{storage} is a replica and takes no writes; connect to its master, "
            "or to a name that follows the master"
        )


class StorageFullError(StorageError):
    """There is no room for the save; what was saved before is intact."""

    def __init__(self, storage: str) -> None:
        self.storage = storage
        super().__init__(
            f"{storage} is full; make room, then resume the instance: nothing saved is lost"
        )


class StorageBusyError(StorageError, TimeoutError):
    """Other processes held the lock of the storage for longer than the busy timeout."""

    def __init__(self, storage: str, timeout: float) -> None:
        self.storage = storage
        self.timeout = timeout
        super().__init__(
            f"{storage} was locked for more than {timeout:g} s by others; "
            "end long transactions on it or raise busy_timeout"
        )


class StorageUnavailableError(StorageError, ConnectionError):
    """The storage cannot be reached now; running instances wait for it, verbs fail."""

    def __init__(self, storage: str, why: str) -> None:
        self.storage = storage
        self.why = why
        super().__init__(
            f"{storage} cannot be reached ({why}); nothing saved is lost, try again when it is back"
        )


class UnseenSignalsError(StorageError, RuntimeError):
    """The save would have ended an instance that got a signal unseen; nothing was written."""

    def __init__(self, id: str, last: int) -> None:
        self.id = id
        self.last = last
        super().__init__(
            f"instance {id!r} got signal {last} meanwhile and cannot end before it is read"
        )


class StaleInstanceError(StorageError, RuntimeError):
    """Another process has taken the instance over; this process's result was dropped."""

    def __init__(self, id: str, expected: int) -> None:
        self.id = id
        self.expected = expected
        super().__init__(
            f"instance {id!r} is no longer at revision {expected} of this owner: "
            "another process drives it, this result is dropped"
        )


class UniqueKeyTakenError(StorageError, ValueError):
    """A live instance holds the unique key; `holder` is its id."""

    def __init__(self, key: str, holder: str) -> None:
        self.key = key
        self.holder = holder
        super().__init__(f"the live instance {holder!r} holds the unique key {key!r}")


ErrorKind = type[BaseException]


@frozen(kw_only=True)
class StoredError:
    """An error as it is kept: names and texts, never the object itself.

    `kind` is its class where it has just been raised; that is not kept.
    """

    type: str
    message: str
    traceback: str = ""
    cause: "StoredError | None" = None
    kind: ErrorKind | None = field(default=None, eq=False, repr=False)

    def is_one_of(self, kinds: tuple[ErrorKind, ...]) -> bool:
        """Whether it is of one of these classes.

        Where it was read from a storage, the class is found by its name if Python or Flux has it;
        one of a user's is then known by its own name alone, or as any `Exception`.
        """
        known = self.kind or getattr(builtins, self.type, None) or globals().get(self.type)
        if isinstance(known, type) and issubclass(known, BaseException):
            return issubclass(known, kinds)
        return any(
            kind in (Exception, BaseException) or kind.__name__ == self.type for kind in kinds
        )

    @classmethod
    def of(cls, error: BaseException) -> "StoredError":
        """Keep `error` with its traceback's text and its chain of causes."""
        links = _causes(error)
        kept: StoredError | None = None
        for cause in reversed(links):
            kept = cls(type=type(cause).__name__, message=_message(cause), cause=kept)
        return cls(
            type=type(error).__name__,
            message=_message(error),
            traceback=_encodable(_traceback_text(error)),
            cause=kept,
            kind=type(error),
        )

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


def _traceback_text(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None or isinstance(error, BaseExceptionGroup):
        return "".join(traceback.format_exception(type(error), error, trace, chain=False))
    # Without the columns: to find them, Python parses every line again.
    frames = traceback.StackSummary.extract(traceback.walk_tb(trace))
    texts = (*frames.format(), *traceback.format_exception_only(error))
    return f"Traceback (most recent call last):\n{''.join(texts)}"


def _message(error: BaseException) -> str:
    try:
        return _encodable(str(error))
    except Exception:  # a broken __str__ must not hide the failure
        return "<the error has no readable message>"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link = _cause(error)
    while link is not None and link not in found and len(found) < 16:
        found.append(link)
        link = _cause(link)
    return found


def _cause(error: BaseException) -> BaseException | None:
    hidden = error.__suppress_context__
    return error.__cause__ or (None if hidden else error.__context__)


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def listing(names: Iterable[object]) -> str:
    """Names for a message, comma separated; `none` if there are none."""
    return ", ".join(str(name) for name in names) or "none"
