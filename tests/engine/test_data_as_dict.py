"""`ctx.data` without a type is a dict in every respect, and what is changed in it is kept."""

from collections.abc import Callable
from typing import Any

import pytest

from flux import FluxEngine, StepNotCompletedError, Workflow, WorkflowContext

BEFORE = {"a": 1, "b": {"c": [2]}}

CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], dict[str, Any]]] = {
    "in place": (lambda data: data["b"]["c"].append(3), {"a": 1, "b": {"c": [2, 3]}}),
    "|=": (lambda data: data.__ior__({"a": 5}), {"a": 5, "b": {"c": [2]}}),
    "update": (lambda data: data.update({"d": 4}, a=7), {"a": 7, "b": {"c": [2]}, "d": 4}),
    "setdefault": (lambda data: data.setdefault("d", []).append(1), {**BEFORE, "d": [1]}),
    "pop": (lambda data: data.pop("a"), {"b": {"c": [2]}}),
    "pop, default": (lambda data: data.pop("z", None), BEFORE),
    "popitem": (lambda data: data.popitem(), {"a": 1}),
    "del": (lambda data: data.__delitem__("b"), {"a": 1}),
    "clear": (lambda data: data.clear(), {}),
    "set to the same": (lambda data: data.__setitem__("a", 1), BEFORE),
}


@pytest.mark.parametrize("way", CHANGES)
async def test_every_way_to_change_it_is_kept(engine: FluxEngine, way: str) -> None:
    """Whatever a dict offers to change it changes the data of the next step."""
    act, after = CHANGES[way]
    order = Workflow("order")
    order.step("fill", lambda ctx: ctx.data.update(BEFORE))
    order.step("change", lambda ctx: act(ctx.data) and None)
    order.step("look", lambda ctx: dict(ctx.data))
    result = await engine.execute(order)
    assert (result.data, result.history[-1].output) == (after, after)


async def test_an_empty_one_has_no_item_to_pop(engine: FluxEngine) -> None:
    """`popitem` of empty data is the error that it is of a dict."""
    result = await engine.execute(Workflow("order").step("pop", lambda ctx: ctx.data.popitem()))
    assert result.error is not None
    assert result.error.type == "KeyError"


async def test_a_failed_step_has_no_output(engine: FluxEngine) -> None:
    """A compensator that asks for the result of the failed step is told that there is none."""
    told: list[str] = []
    order = Workflow("order")

    def ask(ctx: WorkflowContext) -> None:
        with pytest.raises(StepNotCompletedError, match="has no result: it is failed") as raised:
            ctx.output("ship")
        told.append(raised.value.step)

    order.step("pay", lambda ctx: None, compensate=ask)
    order.step("ship", lambda ctx: 1 / 0)
    await engine.execute(order)
    assert told == ["ship"]
