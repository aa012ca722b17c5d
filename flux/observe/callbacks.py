"""Callbacks by name: the `on` of the original."""

from collections.abc import Awaitable, Callable, Mapping

from flux.observe.trace import FluxTraceEvent

Callback = Callable[[FluxTraceEvent], Awaitable[None] | None]

CALLED_FOR: Mapping[str, tuple[str, ...]] = {
    "step_start": ("step:start",),
    "step_complete": ("step:complete",),
    "step_error": ("step:error",),
    "workflow_complete": ("workflow:complete",),
    "workflow_error": (
        "workflow:error",
        "workflow:rollback_complete",
        "workflow:rollback_failed",
    ),
}
"""The trace events that each callback is called for.

`step_error` means that a step failed for good, `step:retry` is not among them. `workflow_error`
means that an instance did not get through, and comes when that is over: nothing was to be undone,
all was undone, or a compensator failed for good.
"""


class Callbacks:
    """An outlet that calls plain or async functions by name, each for its events.

    A name that means nothing raises `ValueError`, what cannot be called `TypeError`.
    """

    def __init__(self, on: Mapping[str, Callback]) -> None:
        self._by_type: dict[str, Callback] = {}
        for name, callback in on.items():
            if not callable(callback):
                raise TypeError(f"on[{name!r}] is {callback!r}; give a function of one event")
            self._by_type.update(dict.fromkeys(_called_for(name), callback))

    def emit(self, event: FluxTraceEvent) -> Awaitable[None] | None:
        """Call the callback for events of this type, if there is one."""
        callback = self._by_type.get(event.type)
        return None if callback is None else callback(event)


def _called_for(name: str) -> tuple[str, ...]:
    if name in CALLED_FOR:
        return CALLED_FOR[name]
    import difflib  # late: only a mistake needs it

    near = difflib.get_close_matches(str(name), CALLED_FOR, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"on has no callback {name!r}; {hint}There are: {', '.join(CALLED_FOR)}")
