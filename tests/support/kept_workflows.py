"""The workflows of the instances that are kept under tests/upgrades, and what their steps do.

The input of an instance says what goes wrong in it: `dies_in` lists steps in which its process
ends, `fails_in` those that fail; "undo step" is the step's compensator. In a world that is mended
nothing goes wrong. Instances of every kept format are driven by these workflows: a step may
get another handler here, but its name, kind, place and commit flag stay as they are.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import define, frozen

from flux import Cache, Retry, Workflow, WorkflowContext, done, sleep, wait
from sagas import until
from saves import Saves

LONG = timedelta(days=90)
"""Longer than the time that passes before the kept instances go on."""


@frozen
class OrderInput:
    sku: str
    total: float
    notes: tuple[str, ...] = ()


@define
class OrderData:
    reservation: str | None = None
    paid: float = 0.0
    approved_by: tuple[str, ...] = ()


class World:
    """What the handlers act upon; with a `process`, which may die, it is not mended."""

    def __init__(self, process: Saves | None = None) -> None:
        self.process = process
        self.ran: defaultdict[str, list[str]] = defaultdict(list)
        """By instance, the steps that ran, in order."""

    def act(self, step: str, **changes: Any) -> Any:
        """A handler, or with "undo step" a compensator, that changes the data so."""

        async def act(ctx: WorkflowContext) -> str:
            self.ran[ctx.id].append(step)
            if self.process is not None and step in ctx.input.get("dies_in", ()):
                self.process.die()
            if self.process is not None and step in ctx.input.get("fails_in", ()):
                raise RuntimeError(f"{step} is out of order")
            for key, value in changes.items():
                ctx.data[key] = value
            return f"{step} of attempt {ctx.attempt}"

        return act

    def second(self, step: str, **changes: Any) -> Any:
        """A handler that ends after the step beside it: the order of the two is always the same."""
        act = self.act(step, **changes)

        async def second(ctx: WorkflowContext) -> Any:
            process = self.process
            if process is not None:
                await until(lambda: len(process.made) > 1)
            return await act(ctx)

        return second

    def workflows(self) -> list[Workflow]:
        """All of them."""
        return [
            self._order(),
            self._trip("trip"),
            self._trip("hosted trip").wait("invitation", timeout=LONG),
            self._poison(),
            self._party(),
            self._fan(),
            self._batch(),
            self._desk(),
            self._prices(),
            self._routes(),
            self._waits(),
        ]

    def _order(self) -> Workflow:
        """With typed input and data, a commit, a wait and a deadline; found by its article."""
        order = Workflow(
            "order", input=OrderInput, data=OrderData, correlate_by=("sku",), deadline=LONG
        )

        @order.step(retries=2)
        async def reserve(ctx: WorkflowContext) -> str:
            self.ran[ctx.id].append("reserve")
            ctx.data.reservation = f"place of {ctx.input.sku}"
            return "reserved"

        @reserve.compensate
        async def release(ctx: WorkflowContext) -> None:
            self.ran[ctx.id].append("undo reserve")
            ctx.data.reservation = None

        @order.commit
        async def charge(ctx: WorkflowContext) -> float:
            self.ran[ctx.id].append("charge")
            ctx.data.paid = ctx.input.total
            return float(ctx.input.total)

        order.wait("approval", signal="approved", timeout=LONG)

        @order.step
        async def ship(ctx: WorkflowContext) -> None:
            self.ran[ctx.id].append("ship")
            ctx.data.approved_by = (ctx.output("approval")["by"],)

        return order

    def _trip(self, name: str) -> Workflow:
        """Three steps to undo."""
        trip = Workflow(name)
        for number, step in enumerate(("flight", "hotel", "car"), start=1):
            undo = self.act(f"undo {step}", **{f"undone_{step}": number})
            trip.step(step, self.act(step, **{step: number}), compensate=undo)
        return trip

    def _poison(self) -> Workflow:
        """The same in short."""
        return Workflow("poison").step("taste", self.act("taste"))

    def _party(self) -> Workflow:
        """A child in the middle."""
        party = Workflow("party").step("invite", self.act("invite"), compensate=self.act("undo it"))
        return party.child("travel", "hosted trip").step("dance", self.act("dance", danced=True))

    def _fan(self) -> Workflow:
        """Steps beside each other that write one key."""
        fan = Workflow("fan").merge("sum", lambda one, other: one + other)
        left, right = self.act("left", sum=1, left=True), self.second("right", sum=2)
        fan.parallel("both", [("left", left), ("right", right)])
        return fan.step("join", self.act("join", joined=True))

    def _batch(self) -> Workflow:
        """Two maps, the second by pairs."""

        async def pack(ctx: WorkflowContext) -> str:
            return str(await self.act(f"pack {ctx.item}")(ctx))

        async def send(ctx: WorkflowContext) -> list[str]:
            await self.act("send " + "+".join(ctx.items))(ctx)
            return [item.upper() for item in ctx.items]

        batch = Workflow("batch").map("pack", lambda ctx: ["a", "b", "c"], pack, concurrency=1)
        return batch.map("send", lambda ctx: ["a", "b", "c"], send, concurrency=1, batch_size=2)

    def _desk(self) -> Workflow:
        """One customer at a time, and a hundred a day."""
        desk = Workflow("desk").step("greet", self.act("greet")).wait("served", timeout=LONG)
        return desk.limit(lambda ctx: ctx.input["desk"], concurrency=1, rate="100/d")

    def _prices(self) -> Workflow:
        """A pure step whose result is kept for all."""
        prices = Workflow("prices")
        price = self.act("price", price=12.5)
        return prices.step("price", price, pure=True, cache=Cache(ttl=timedelta(days=300)))

    def _routes(self) -> Workflow:
        """A branch, a step that is skipped, one that fails twice, a fallback, a verified step."""
        routes = Workflow("routes")
        sea, air = ("sea", self.act("sea")), ("air", self.act("air"))
        routes.branch("route", on=lambda ctx: "air", cases={"sea": sea, "air": air})
        routes.step("insure", self.act("insure"), when=lambda ctx: False)

        async def call(ctx: WorkflowContext) -> str:
            if ctx.attempt < 3:
                self.ran[ctx.id].append("call")
                raise ConnectionError("engaged") from TimeoutError("nobody answers")
            return str(await self.act("call")(ctx))

        routes.step("call", call, retries=Retry(2, initial=1, jitter=False))
        routes.step("print", self.act("print"), fallback="write")
        routes.step("write", self.act("write"), after=())
        sign = self.act("sign")
        verify = lambda ctx: done("signed before")  # noqa: E731 - as short as it gets
        routes.step("sign", sign, after=("print", "write"), join="any", at_most_once=True,
                    verify=verify)  # fmt: skip
        return routes

    def _waits(self) -> Workflow:
        """All kinds of waiting: a sleep, a wait that may time out, a long back-off."""
        waits = Workflow("waits").step("nap", lambda ctx: sleep(ctx.input["nap"]))
        unanswered: Mapping[str, Any] = {"on_timeout": "continue", "default": {"by": None}}
        waits.step("ask", lambda ctx: wait("answer", timeout=ctx.input["ask"], **unanswered))
        slow = Retry(1, initial=timedelta(days=20), maximum=LONG, jitter=False)
        return waits.step("dial", self.act("dial"), retries=slow)
