"""Several processes on one storage, real ones."""

from flux.storage import Entry, SharedValues, WorkflowFilter, WorkflowStorage
from flux.testing.conformance.expecting import holds, same, there
from flux.testing.conformance.looking import head
from flux.testing.conformance.processes import Processes
from flux.testing.conformance.rule import rule
from flux.testing.conformance.sample import record

WORKERS = ("two", "three")
_ALL = WorkflowFilter(limit=1000)


@rule
async def one_creator(storage: WorkflowStorage, processes: Processes) -> None:
    """Of the processes that create an id, one does."""
    ids = [str(number) for number in range(40)]
    made = await processes.do("create", [{"me": me, "ids": ids} for me in WORKERS])
    same(sorted(id for part in made for id in part), sorted(ids))
    same(len(await storage.list(_ALL)), len(ids))


@rule
async def no_lost_update(storage: WorkflowStorage, processes: Processes) -> None:
    """What processes add under claims adds up."""
    await storage.create(record(payload=b"0"))
    await processes.do("count", [{"me": me, "times": 40} for me in WORKERS])
    same((await head(storage)).payload, b"80")


@rule
async def nothing_claimed_twice(storage: WorkflowStorage, processes: Processes) -> None:
    """Processes share what is due, and get nothing twice."""
    ids = [str(number) for number in range(60)]
    for id in ids:
        await storage.create(record(id), wake=0)
    claimed = await processes.do("claim_due", [{"me": me} for me in WORKERS])
    same(sorted(id for part in claimed for id in part), sorted(ids))


@rule
async def signals_in_order(storage: WorkflowStorage, processes: Processes) -> None:
    """Signals of several processes get numbers of their own, each process' in its order."""
    await storage.create(record())
    await processes.do("send", [{"me": me, "number": 20} for me in WORKERS])
    inbox = await storage.signals("order-7")
    same([one.number for one in inbox], list(range(1, len(inbox) + 1)))
    for me in WORKERS:
        mine = [one.signal.name for one in inbox if one.signal.name.startswith(me)]
        same(mine, [f"{me} {n}" for n in range(20)])
    shared = [one.signal.signal_id or "" for one in inbox if one.signal.signal_id]
    same(sorted(shared), sorted(f"e-{n}" for n in range(20)))


@rule
async def killed_while_saving(storage: WorkflowStorage, processes: Processes) -> None:
    """A process that is killed leaves whole saves: every entry, or none, of each."""
    await storage.create(record(payload=b"0"), lease=0)
    await processes.interrupted("save", {})
    found, entries = there(await storage.load("order-7"))
    saved = found.revision - 1
    holds(saved >= 19, f"the {saved} saves that the process was told of are there")
    same(found.payload, b"%d" % saved)
    wanted = [Entry(number=2 * n + m, body=b"%d" % n) for n in range(1, saved + 1) for m in (0, 1)]
    same(entries, wanted)


@rule
async def values_add_up(values: SharedValues, processes: Processes) -> None:
    """Processes that repeat a compare-and-set until it succeeds lose no count."""
    await processes.do("increase", [{"key": "count", "times": 40} for _ in WORKERS])
    same(await values.get_value("count"), b"80")
