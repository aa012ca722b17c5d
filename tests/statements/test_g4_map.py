"""Graph, 4: a map runs its handler for each item of a list, and puts the results in order."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define

from flux import (
    FluxConfig,
    FluxEngine,
    FluxTraceEvent,
    Retry,
    Workflow,
    WorkflowContext,
    WorkflowStatus,
    WorkflowStorage,
    wait,
)
from flux_storages import MemoryStorage
from jumping import FAR, JumpingClock
from maps import HeldItems, Packer, Work, mapping, output_of, results_of, statuses
from opening import OpenEngine
from sagas import noting, step_of, until
from saves import Saves

COMPLETED, FAILED = WorkflowStatus.COMPLETED, WorkflowStatus.FAILED


async def item(ctx: WorkflowContext) -> Any:
    """A handler that returns its item."""
    return ctx.item


# What it comes to


async def test_g4_a_map_gives_all_results(engine: FluxEngine) -> None:
    """Its output has the result of each item, with counts and errors."""
    result = await engine.execute(mapping(Packer()))
    assert result.status is COMPLETED
    assert output_of(result) == {
        "results": ["packed a", "packed b", "packed c"],
        "succeeded": 3,
        "failed": 0,
        "errors": [],
    }


async def test_g4_results_are_in_the_order_of_the_items(engine: FluxEngine) -> None:
    """Whichever item ends first."""
    held = HeldItems(2)
    await engine.start(mapping(held), id="o")
    await until(lambda: held.running == {0, 1})
    held.go_on[1].set()
    await until(lambda: held.running == {0})
    held.go_on[0].set()
    assert results_of(await engine.result("o")) == ["a", "b", "c"]


async def test_g4_an_item_sees_itself(engine: FluxEngine) -> None:
    """`ctx.item` is the item, `ctx.index` its place, and its name and key are its own."""
    seen = list[Any]()

    async def look(ctx: WorkflowContext) -> None:
        seen.append((ctx.item, ctx.index, ctx.step, ctx.idempotency_key))

    await engine.execute(mapping(look, ["x", "y"]), id="o")
    assert seen == [("x", 0, "pack[0]", "o:pack[0]:1"), ("y", 1, "pack[1]", "o:pack[1]:1")]


async def test_g4_an_item_is_a_copy(engine: FluxEngine) -> None:
    """What a handler does to its item is not seen by the next attempt."""
    seen = list[Any]()

    async def spoil(ctx: WorkflowContext) -> None:
        seen.append(list(ctx.item))
        ctx.item.append("spoilt")
        if ctx.attempt == 1:
            raise RuntimeError("again")

    await engine.execute(mapping(spoil, [["good"]], retries=Retry(1, initial=0)))
    assert seen == [["good"], ["good"]]


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"on_item_failure": "continue"}])
async def test_g4_an_empty_list_succeeds(engine: FluxEngine, options: dict[str, Any]) -> None:
    """Without a call, and what comes next runs."""
    ran: list[str] = []
    order = mapping(noting("pack", ran), [], **options).step("ship", noting("ship", ran))
    result = await engine.execute(order)
    assert (result.status, ran) == (COMPLETED, ["ship"])
    assert output_of(result) == {"results": [], "succeeded": 0, "failed": 0, "errors": []}


async def test_g4_a_tuple_is_a_list(engine: FluxEngine) -> None:
    """As in every result."""
    assert results_of(await engine.execute(mapping(item, lambda ctx: (1, 2)))) == [1, 2]


async def test_g4_a_sync_handler_runs_in_a_thread(engine: FluxEngine) -> None:
    """So it is with the items as well."""
    order = mapping(lambda ctx: f"{ctx.index}: {ctx.item}")
    assert results_of(await engine.execute(order)) == ["0: a", "1: b", "2: c"]


async def test_g4_an_async_list_is_awaited(engine: FluxEngine) -> None:
    """`over` may be async."""

    async def over(ctx: WorkflowContext) -> list[int]:
        await asyncio.sleep(0)
        return [1, 2]

    assert results_of(await engine.execute(mapping(item, over))) == [1, 2]


async def test_g4_a_decorated_map(engine: FluxEngine) -> None:
    """`map` decorates a handler, and what it returns takes a compensator."""
    order, undone = Workflow("order"), list[Any]()

    @order.map("pack", lambda ctx: ctx.input["regions"], concurrency=2)
    async def pack(ctx: WorkflowContext) -> Any:
        return ctx.item

    @pack.compensate
    async def unpack(ctx: WorkflowContext) -> None:
        undone.append(ctx.item)

    result = await engine.execute(order, {"regions": ["eu", "us"]})
    assert (results_of(result), undone) == (["eu", "us"], [])


async def test_g4_what_follows_reads_the_results(engine: FluxEngine) -> None:
    """`ctx.output` gives what the map came to, or a single item."""
    seen = list[Any]()

    async def ship(ctx: WorkflowContext) -> None:
        seen.extend((ctx.output("pack")["results"], ctx.output("pack[1]")))

    await engine.execute(mapping(item).step("ship", ship))
    assert seen == [["a", "b", "c"], "b"]


# What it runs over


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "NoneType"),
        ({"a": 1}, "dict"),
        ("abc", "str"),
        (5, "int"),
        ({1, 2}, "set"),
        (range(2), "range"),
        ((n for n in (1, 2)), "generator"),
    ],
)
async def test_g4_what_is_no_list_fails(engine: FluxEngine, found: Any, told: str) -> None:
    """The map fails, with an error that says what it got; no handler is called."""
    packer = Packer()
    result = await engine.execute(mapping(packer, lambda ctx: found))
    assert (result.status, packer.packed) == (FAILED, [])
    message = f"NotAListError: map 'pack': over returned {told}, it must return a list"
    assert str(result.error) == str(step_of(result, "pack").error) == message


@pytest.mark.parametrize(
    ("found", "path"),
    [
        ([1, object()], "items[1]"),
        ([float("nan")], "items[0]"),
        ([2**70], "items[0]"),
        ([{"a": {1: 2}}], "items[0].a"),
    ],
)
async def test_g4_items_are_json(engine: FluxEngine, found: Any, path: str) -> None:
    """A list that cannot be kept as it is fails the map, and the error names the place."""
    result = await engine.execute(mapping(item, lambda ctx: found))
    assert result.status is FAILED
    assert str(result.error).startswith(f"NotJSONError: {path}: ")


async def test_g4_an_over_that_raises_fails_the_map(engine: FluxEngine) -> None:
    """At once: the retries are those of the items."""
    asked = list[int]()

    def over(ctx: WorkflowContext) -> Any:
        asked.append(1)
        raise LookupError("no regions")

    result = await engine.execute(mapping(item, over, retries=3))
    assert (result.status, str(result.error)) == (FAILED, "LookupError: no regions")
    assert (len(asked), statuses(result)) == (1, {"pack": "failed"})


async def test_g4_an_over_cannot_wait(engine: FluxEngine) -> None:
    """A wait is no list."""
    result = await engine.execute(mapping(item, lambda ctx: wait("regions")))
    assert result.status is FAILED
    assert "wait" in str(result.error).lower()


async def test_g4_an_over_has_no_effects(engine: FluxEngine) -> None:
    """What it changes in `data` is not kept."""

    def over(ctx: WorkflowContext) -> list[int]:
        ctx.data["asked"] = True
        return [1]

    assert (await engine.execute(mapping(item, over))).data == {}


async def test_g4_the_list_is_asked_for_once(engine: FluxEngine) -> None:
    """And what it was is kept, whatever becomes of the object."""
    regions, asked = ["a", "b"], list[int]()

    def over(ctx: WorkflowContext) -> list[str]:
        asked.append(1)
        return regions

    async def pack(ctx: WorkflowContext) -> Any:
        regions.clear()
        return ctx.item

    result = await engine.execute(mapping(pack, over, concurrency=1))
    assert (results_of(result), len(asked)) == (["a", "b"], 1)


async def test_g4_a_list_from_typed_input(open_engine: OpenEngine) -> None:
    """`over` and the items see the typed input and data."""

    @define
    class Regions:
        names: list[str]

    @define
    class Packed:
        count: int = 0

    async def pack(ctx: WorkflowContext) -> str:
        assert isinstance(ctx.input, Regions)
        assert isinstance(ctx.data, Packed)
        return f"{ctx.item} of {len(ctx.input.names)}"

    order = Workflow("order", input=Regions, data=Packed)
    order.map("pack", lambda ctx: ctx.input.names, pack)
    result = await (await open_engine()).execute(order, Regions(["eu", "us"]))
    assert results_of(result) == ["eu of 2", "us of 2"]


# Where it stands


async def test_g4_a_predicate_of_a_map(engine: FluxEngine) -> None:
    """It is asked once, before the list; a map that is skipped has no items."""
    asked = list[str]()
    packer = Packer()

    def over(ctx: WorkflowContext) -> list[int]:
        asked.append("over")
        return [1]

    def when(ctx: WorkflowContext) -> bool:
        asked.append("when")
        return bool(ctx.input)

    order = mapping(packer, over, when=when)
    no, yes = await engine.execute(order, {}), await engine.execute(order, {"go": 1})
    assert statuses(no) == {"pack": "skipped"}
    assert (results_of(yes), asked) == (["packed 1"], ["when", "when", "over"])


async def test_g4_a_join_of_maps(engine: FluxEngine) -> None:
    """What comes after two maps waits for all items of both."""
    ran: list[str] = []
    order = Workflow("order").map("pack", lambda ctx: [1, 2], noting("pack", ran))
    order.map("bill", lambda ctx: [1, 2, 3], noting("bill", ran), after=())
    order.step("ship", noting("ship", ran), after=("pack", "bill"), join="all")
    result = await engine.execute(order)
    assert (result.status, ran[-1]) == (COMPLETED, "ship")
    assert sorted(ran[:-1]) == ["bill"] * 3 + ["pack"] * 2


async def test_g4_two_maps_run_beside_each_other(engine: FluxEngine) -> None:
    """With items, counts and results of their own."""
    packs, bills = HeldItems(), HeldItems()
    order = mapping(packs, [1, 2], concurrency=1)
    order.map("bill", lambda ctx: ["x"], bills, after=())
    await engine.start(order, id="o")
    await packs.began[0].wait()
    await bills.began[0].wait()
    for held in (packs, bills):
        for index in (0, 1):
            held.go_on[index].set()
    result = await engine.result("o")
    assert (results_of(result), results_of(result, "bill")) == ([1, 2], ["x"])
    assert (packs.most, bills.most) == (1, 1)


async def test_g4_a_map_in_a_group(engine: FluxEngine) -> None:
    """It is a member like any other; what comes after the group waits for its items."""
    held, ran = HeldItems(), list[str]()
    order = mapping(held, [1, 2])
    order.parallel("checks", [("scan", noting("scan", ran)), "pack"])
    order.step("ship", noting("ship", ran))
    await engine.start(order, id="o")
    await until(lambda: ran == ["scan"] and len(held.running) == 2)
    held.go_on[0].set()
    held.go_on[1].set()
    result = await engine.result("o")
    assert (ran, results_of(result)) == (["scan", "ship"], [1, 2])


async def test_g4_a_group_bounds_a_map(engine: FluxEngine) -> None:
    """In a group of which one member runs at once, a map does not begin beside another."""
    scan, packer = HeldItems(), Packer()
    order = Workflow("order").map("scan", lambda ctx: [1], scan)
    order.map("pack", lambda ctx: ["a"], packer)
    order.parallel("checks", ["scan", "pack"], concurrency=1)
    await engine.start(order, id="o")
    await scan.began[0].wait()
    assert packer.packed == []
    scan.go_on[0].set()
    assert results_of(await engine.result("o")) == ["packed a"]


async def test_g4_a_group_with_a_step_bounds_a_map(engine: FluxEngine) -> None:
    """Nor does it begin beside a plain step that was there first."""
    beside, running = list[set[str]](), set[str]()

    async def act(ctx: WorkflowContext) -> None:
        running.add(ctx.step)
        beside.append(set(running))
        await asyncio.sleep(0)
        running.discard(ctx.step)

    order = Workflow("order").step("scan", act).map("pack", lambda ctx: [1], act)
    order.parallel("checks", ["scan", "pack"], concurrency=1)
    await engine.execute(order)
    assert beside == [{"scan"}, {"pack[0]"}]


async def test_g4_a_map_in_a_chain(engine: FluxEngine) -> None:
    """A member may be a list of steps: its map stands at its place in it."""
    ran: list[str] = []
    order = mapping(noting("pack", ran), [1, 2])
    order.step("label", noting("label", ran)).step("weigh", noting("weigh", ran))
    order.parallel("checks", [["weigh", "pack", "label"]])
    assert (await engine.execute(order)).status is COMPLETED
    assert ran == ["weigh", "pack", "pack", "label"]


@pytest.mark.parametrize(("choice", "packed"), [("all", ["a", "b"]), ("none", [])])
async def test_g4_a_map_as_a_case(engine: FluxEngine, choice: str, packed: list[str]) -> None:
    """A branch may choose a map; one that it leaves out has no items."""
    packer = Packer()
    order = mapping(packer, ["a", "b"])
    order.branch("route", on=lambda ctx: choice, cases={"all": "pack", "none": None})
    result = await engine.execute(order)
    left_out = step_of(result, "pack").left_out
    assert (result.status, packer.packed, left_out) == (COMPLETED, packed, not packed)


# How many at once


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_g4_no_more_run_at_once(engine: FluxEngine, concurrency: int) -> None:
    """Than `concurrency`; and so many do."""
    held = HeldItems()
    order = mapping(held, list(range(8)), concurrency=concurrency)
    await engine.start(order, id="o")
    await until(lambda: len(held.running) == concurrency)
    for index in range(8):
        held.go_on[index].set()
    assert results_of(await engine.result("o")) == list(range(8))
    assert held.most == concurrency


@pytest.mark.parametrize("options", [{}, {"concurrency": 7}])
async def test_g4_the_engine_bounds_a_map(open_engine: OpenEngine, options: Any) -> None:
    """Without `concurrency` it is `max_parallel_steps`, and with a greater one as well."""
    engine, held = await open_engine(max_parallel_steps=3), HeldItems()
    await engine.start(mapping(held, list(range(8)), **options), id="o")
    await until(lambda: len(held.running) == 3)
    for index in range(8):
        held.go_on[index].set()
    await engine.result("o")
    assert held.most == 3


async def test_g4_items_that_wait_count(engine: FluxEngine) -> None:
    """With `concurrency`, an item keeps its place while it waits for a signal."""
    begun = list[int]()

    async def ask(ctx: WorkflowContext) -> Any:
        begun.append(ctx.index)
        return wait("go")

    order = mapping(ask, [0, 1, 2, 3], concurrency=2)
    await engine.execute(order, id="o")
    assert begun == [0, 1]
    await engine.signal("o", "go", "first")
    assert begun == [0, 1, 2]


async def test_g4_items_that_wait_are_all_begun(open_engine: OpenEngine) -> None:
    """Without `concurrency` all items are begun: those that wait keep nobody from running."""
    engine, begun = await open_engine(max_parallel_steps=2), list[int]()

    async def ask(ctx: WorkflowContext) -> Any:
        begun.append(ctx.index)
        return wait("go")

    await engine.execute(mapping(ask, list(range(7))))
    assert begun == list(range(7))


# Batches


async def test_g4_a_batch_is_one_call(engine: FluxEngine) -> None:
    """With `batch_size` a call gets so many items, the last one what is left."""
    seen = list[Any]()

    async def pack(ctx: WorkflowContext) -> list[str]:
        seen.append((ctx.step, ctx.index, ctx.items))
        return [f"packed {one}" for one in ctx.items]

    result = await engine.execute(mapping(pack, list("abcde"), batch_size=2))
    assert seen == [
        ("pack[0]", 0, ["a", "b"]),
        ("pack[1]", 1, ["c", "d"]),
        ("pack[2]", 2, ["e"]),
    ]
    assert results_of(result) == [f"packed {one}" for one in "abcde"]
    assert output_of(result)["succeeded"] == 5


async def test_g4_a_batch_may_return_nothing(engine: FluxEngine) -> None:
    """None stands for no result of any of its items."""

    async def nothing(ctx: WorkflowContext) -> None:
        return None

    result = await engine.execute(mapping(nothing, [1, 2, 3], batch_size=2))
    assert output_of(result) == {
        "results": [None] * 3,
        "succeeded": 3,
        "failed": 0,
        "errors": [],
    }


@pytest.mark.parametrize(
    ("returned", "told"),
    [([1], "a list of 1"), ([1, 2, 3], "a list of 3"), (7, "int"), ({"a": 1, "b": 2}, "dict")],
)
async def test_g4_a_batch_returns_as_many_results(
    engine: FluxEngine, returned: Any, told: str
) -> None:
    """Another number of them, or no list, fails the batch at once; it has acted."""
    calls = list[int]()

    async def pack(ctx: WorkflowContext) -> Any:
        calls.append(ctx.attempt)
        return returned

    result = await engine.execute(mapping(pack, [1, 2], batch_size=2, retries=3))
    assert (result.status, calls) == (FAILED, [1])
    assert f"BatchResultError: pack[0] has 2 items, its handler returned {told}" in str(
        result.error
    )
    assert step_of(result, "pack[0]").outcome == "unknown"


async def test_g4_a_batch_cannot_wait(engine: FluxEngine) -> None:
    """A signal is no list of results: a batch that returns a wait has failed."""

    async def ask(ctx: WorkflowContext) -> Any:
        return wait("answers")

    result = await engine.execute(mapping(ask, ["x", "y"], batch_size=2))
    assert "pack[0] has 2 items, its handler returned Wait" in str(result.error)


# What items see and write


async def test_g4_items_see_what_came_before(engine: FluxEngine) -> None:
    """The data of the steps before the map, and nothing that other items wrote."""
    seen = list[Any]()

    async def first(ctx: WorkflowContext) -> None:
        ctx.data["first"] = 1

    async def pack(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data))
        ctx.data[f"item {ctx.index}"] = ctx.item

    order = Workflow("order").step("first", first)
    order.map("pack", lambda ctx: ["a", "b"], pack, concurrency=1)
    result = await engine.execute(order)
    assert seen == [{"first": 1}] * 2
    assert result.data == {"first": 1, "item 0": "a", "item 1": "b"}


async def test_g4_items_see_the_same_after_a_rest(engine: FluxEngine) -> None:
    """Also those that run once another driver has taken the instance over."""
    seen = list[Any]()

    async def pack(ctx: WorkflowContext) -> None:
        seen.append(dict(ctx.data))
        ctx.data[f"item {ctx.index}"] = ctx.item
        if ctx.index == 0:
            await engine.pause("o")

    order = mapping(pack, ["a", "b"], concurrency=1)
    assert (await engine.execute(order, id="o")).status is WorkflowStatus.PAUSED
    await engine.resume("o")
    assert seen == [{}, {}]


async def test_g4_items_that_write_one_key_conflict(engine: FluxEngine) -> None:
    """With different values the instance fails, naming both items, and both are undone."""
    packer = Packer()

    async def pack(ctx: WorkflowContext) -> None:
        ctx.data["last"] = ctx.item

    order = mapping(pack, ["a", "b"], compensate=packer.undo, on_item_failure="continue")
    result = await engine.execute(order)
    assert (result.status, packer.undone) == (WorkflowStatus.ROLLED_BACK, ["b", "a"])
    assert str(result.error).startswith("DataConflictError: steps 'pack[0]' and 'pack[1]' run")
    assert "data['last']" in str(result.error)


async def test_g4_items_may_write_the_same(engine: FluxEngine) -> None:
    """One value at one key is no conflict."""

    async def pack(ctx: WorkflowContext) -> None:
        ctx.data["packed"] = True

    result = await engine.execute(mapping(pack))
    assert (result.status, result.data) == (COMPLETED, {"packed": True})


@pytest.mark.parametrize("concurrency", [1, None])
async def test_g4_writes_of_items_are_merged(engine: FluxEngine, concurrency: int | None) -> None:
    """Where the workflow says how, in the order of their completion."""

    async def pack(ctx: WorkflowContext) -> None:
        ctx.data["packed"] = [ctx.item]

    order = mapping(pack, concurrency=concurrency).merge("packed", lambda one, other: one + other)
    result = await engine.execute(order)
    assert (result.status, result.data) == (COMPLETED, {"packed": ["a", "b", "c"]})


async def test_g4_a_step_beside_a_map_conflicts(engine: FluxEngine) -> None:
    """As with any two steps neither of which is an ancestor of the other."""

    async def write(ctx: WorkflowContext) -> None:
        ctx.data["who"] = ctx.step

    order = mapping(write, ["a"]).step("audit", write, after=())
    result = await engine.execute(order)
    assert str(result.error).startswith("DataConflictError: ")
    assert "'pack[0]'" in str(result.error)
    assert "'audit'" in str(result.error)


@pytest.mark.parametrize("name", ["item", "items", "index"])
async def test_g4_there_is_no_item_elsewhere(engine: FluxEngine, name: str) -> None:
    """A plain step's context has no item, and says so."""

    async def look(ctx: WorkflowContext) -> Any:
        return getattr(ctx, name)

    result = await engine.execute(Workflow("order").step("scan", look))
    message = "AttributeError: step 'scan' is no map: its context has no item"
    assert str(result.error) == message


async def test_g4_a_list_is_asked_for_without_an_item(engine: FluxEngine) -> None:
    """Neither `over` nor `when` of a map is for an item."""
    for options in ({"items": lambda ctx: [ctx.item]}, {"when": lambda ctx: ctx.index == 0}):
        result = await engine.execute(mapping(item, **options))
        assert "its context has no item" in str(result.error)


# What people see


async def test_g4_items_are_in_the_history(engine: FluxEngine) -> None:
    """One entry each, after the map's own, in the order in which they were reached."""
    packer = Packer("b")
    order = mapping(packer, concurrency=1, on_item_failure="continue")
    result = await engine.execute(order, id="o")
    assert [(entry.name, entry.status) for entry in result.history] == [
        ("pack", "completed"),
        ("pack[0]", "completed"),
        ("pack[1]", "failed"),
        ("pack[2]", "completed"),
    ]
    assert step_of(result, "pack[2]").output == "packed c"
    assert str(step_of(result, "pack[1]").error) == "ValueError: b is broken"


async def test_g4_a_running_map_is_seen(engine: FluxEngine) -> None:
    """`get` and `diagnose` tell which items run while they do."""
    held = HeldItems(0)
    await engine.start(mapping(held, concurrency=2), id="o")
    await held.began[2].wait()
    await held.began[1].wait()
    state, told = await engine.get("o"), await engine.diagnose("o")
    assert statuses(state) == {
        "pack": "running",
        "pack[0]": "completed",
        "pack[1]": "running",
        "pack[2]": "running",
    }
    assert state.current_step == "pack[1]"
    assert told.because == "it is driven, at pack[1] and pack[2]"
    held.go_on[1].set()
    held.go_on[2].set()
    await engine.result("o")


async def test_g4_waiting_items_are_seen(engine: FluxEngine) -> None:
    """`diagnose` lists what each of them waits for."""

    async def ask(ctx: WorkflowContext) -> Any:
        return wait(f"go {ctx.item}")

    await engine.execute(mapping(ask), id="o")
    told = await engine.diagnose("o")
    assert [(one.step, one.signal) for one in told.waits_for] == [
        ("pack[0]", "go a"),
        ("pack[1]", "go b"),
        ("pack[2]", "go c"),
    ]
    assert (await engine.get("o")).current_step == "pack"


async def test_g4_observers_are_told_of_items(storage: WorkflowStorage) -> None:
    """Each item has its events, with the facts of its map; the map's own comes last."""
    told = list[FluxTraceEvent]()
    async with FluxEngine(storage, observers=[told.append], config=FluxConfig(poll=0.05)) as engine:
        await engine.execute(mapping(item, ["a"], commit=True, retries=2))
    of_steps = [one for one in told if one.step_name]
    assert [(one.type, one.step_name) for one in of_steps if one.type != "step:expanded"] == [
        ("step:start", "pack[0]"),
        ("step:complete", "pack[0]"),
        ("step:complete", "pack"),
    ]
    facts = {(one.step_index, one.commit, one.max_retries) for one in of_steps}
    assert facts == {(0, True, 2)}


# Many


async def test_g4_ten_thousand_items(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Each is saved once, with no more saves than there are items and steps.

    What a save says of the instance itself does not grow: it knows the fifty that are under way.
    """
    saves, many = Saves(storage), 10_000
    result = await (await open_engine(saves)).execute(mapping(item, list(range(many))))
    assert results_of(result) == list(range(many))
    assert len(saves.made) <= many + 2
    assert sum(len(entries) for entries in saves.entries) <= many + 2
    assert max(len(save.payload) for save in saves.made) < 1_500


async def test_g4_saves_are_few(storage: WorkflowStorage, open_engine: OpenEngine) -> None:
    """Items that end while a save is made are saved together with the next one."""
    saves = Saves(storage)
    await (await open_engine(saves)).execute(mapping(item, list(range(1_000))))
    assert len(saves.made) < 100


async def plain(engine: FluxEngine, many: int) -> None:
    await engine.execute(mapping(item, list(range(many))), id=f"o-{many}")


async def undone_by_item(engine: FluxEngine, many: int) -> None:
    async def undo(ctx: WorkflowContext) -> Any:
        return ctx.item

    async def fail(ctx: WorkflowContext) -> None:
        raise RuntimeError("declined")

    order = mapping(item, list(range(many)), compensate=undo).step("ship", fail)
    result = await engine.execute(order, id=f"o-{many}")
    assert result.status is WorkflowStatus.ROLLED_BACK


async def waited_for(engine: FluxEngine, many: int) -> None:
    async def ask(ctx: WorkflowContext) -> Any:
        return wait("go")

    result = await engine.execute(mapping(ask, list(range(many))), id=f"o-{many}")
    assert result.status is WorkflowStatus.SUSPENDED


async def merged(engine: FluxEngine, many: int) -> None:
    async def pack(ctx: WorkflowContext) -> None:
        ctx.data["most"] = ctx.index

    order = mapping(pack, list(range(many))).merge("most", max)
    assert (await engine.execute(order, id=f"o-{many}")).data == {"most": many - 1}


async def run_again(engine: FluxEngine, many: int) -> None:
    order = mapping(item, list(range(many)), commit=True)
    await engine.execute(order, id=f"o-{many}")
    assert (await engine.restart(f"o-{many}", "pack")).status is COMPLETED


@pytest.mark.parametrize(
    "run", [plain, undone_by_item, waited_for, merged, run_again], ids=lambda run: run.__name__
)
async def test_g4_an_item_costs_the_same(run: Callable[[FluxEngine, int], Any]) -> None:
    """The last item takes as much work as the first: counted in calls, not in time."""
    each = list[float]()
    for many in (60, 240):
        config = FluxConfig(**FAR)
        async with FluxEngine(MemoryStorage(), clock=JumpingClock(), config=config) as engine:
            with Work() as work:
                await run(engine, many)
        each.append(work.calls / many)
    assert each[1] < each[0] * 1.2
