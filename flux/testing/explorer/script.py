"""What happens to a run from outside: signals, time that passes, a cancel."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import frozen

from flux.definition.policy import seconds
from flux.definition.wait import signal_name
from flux.engine.engine import FluxEngine
from flux.state.execution import idempotency_key


@frozen
class SendSignal:
    """A signal to the instance, or to the sub-workflow at the path `to`."""

    name: str
    payload: Any = None
    to: str | None = None

    def __str__(self) -> str:
        return f"signal({self.name!r})" + (f" to {self.to!r}" if self.to else "")

    async def send(self, engine: FluxEngine, root: str, number: int) -> None:
        """Send it as the action of this number; once sent, it is not sent again."""
        id = _instance_at(root, self.to)
        signal_id = f"{_SIGNAL_ID}{number}"
        await engine.signal(id, self.name, self.payload, signal_id=signal_id, wait=False)


@frozen
class Cancel:
    """A person cancels the instance."""

    rollback: bool = True

    def __str__(self) -> str:
        return "cancel()" if self.rollback else "cancel(rollback=False)"

    async def send(self, engine: FluxEngine, root: str, number: int) -> None:
        await engine.cancel(root, rollback=self.rollback)


@frozen
class Advance:
    """So many seconds pass; what is due meanwhile happens when it is due."""

    seconds: float

    def __str__(self) -> str:
        return f"advance({self.seconds:g} s)"


_SIGNAL_ID = "script:"


def number_in_script(signal_id: str | None) -> int | None:
    """The number of the action that has sent the signal, if the script has."""
    if signal_id is None or not signal_id.startswith(_SIGNAL_ID):
        return None
    return int(signal_id.removeprefix(_SIGNAL_ID))


ScriptAction = SendSignal | Cancel | Advance


def signal(name: str, payload: Any = None, *, to: str | None = None) -> ScriptAction:
    """Send this signal once the run has come to rest.

    `to` names the step of a sub-workflow that gets it, `"outer/inner"` one within another.
    """
    if to is not None and not isinstance(to, str):
        raise TypeError(f"to={to!r}: give the name of the step of a sub-workflow")
    return SendSignal(signal_name(name), payload, to)


def cancel(*, rollback: bool = True) -> ScriptAction:
    """Cancel the instance once the run has come to rest."""
    if not isinstance(rollback, bool):
        raise TypeError(f"rollback={rollback!r}: give True or False")
    return Cancel(rollback)


def advance(amount: float = 0, /, **units: float) -> ScriptAction:
    """Let time pass once the run has come to rest: seconds, or the units of a `timedelta`."""
    return Advance(seconds(amount) + seconds(timedelta(**units)))


def checked_script(script: Sequence[ScriptAction]) -> tuple[ScriptAction, ...]:
    """The actions given; `TypeError` for what is none."""
    given = tuple(script) if isinstance(script, list | tuple) else (script,)
    for action in given:
        if not isinstance(action, ScriptAction) or not isinstance(script, list | tuple):
            raise TypeError(
                f"script={script!r}: give a list of actions, as "
                '[signal("paid", {...}), advance(days=2), cancel()]'
            )
    return given


def script_of(document: Any) -> Sequence[ScriptAction]:
    """The script that plain JSON tells of; `ValueError` for what is none.

    A list of `{"signal": name, "payload": …, "to": …}`, `{"advance": seconds}` and
    `{"cancel": true}`, or `"keep"` for a cancel that undoes nothing.
    """
    if not isinstance(document, list):
        raise ValueError("a script is a list of actions")
    return [_action(told) for told in document]


def _action(told: Any) -> ScriptAction:
    match told:
        case {"signal": name, **rest} if not rest.keys() - {"payload", "to"}:
            to = rest.get("to")
            return signal(name, rest.get("payload"), to=None if to is None else str(to))
        case {"advance": amount, **rest} if not rest:
            return advance(amount)
        case {"cancel": True | "keep" as how, **rest} if not rest:
            return cancel(rollback=how is True)
    known = '{"signal": name, "payload": …, "to": …}, {"advance": seconds}, {"cancel": true}'
    shown = dict(told) if isinstance(told, Mapping) else told
    raise ValueError(f"{shown!r} is no action of a script; there are {known}")


def _instance_at(root: str, path: str | None) -> str:
    """A sub-workflow has the idempotency key of its step as its id."""
    id = root
    for step in path.split("/") if path else ():
        id = idempotency_key(id, step, 1)
    return id
