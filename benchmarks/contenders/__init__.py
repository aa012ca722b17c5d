"""All contenders, by group; who is one of those that promise the same is compared with them."""

from collections.abc import Mapping, Sequence

from benchmarks.contender import Entry

STEPS = frozenset({"throughput", "latency", "saga", "late_steps", "cold_start"})
WAITS = frozenset({"signals", "suspended"})
# Peers as shipped differ from peers in WAL by the disk alone; and there is but so much time.
AS_SHIPPED_ANSWERS = frozenset({"throughput", "latency", "saga", "cold_start"})
LOADED = frozenset({"at_rest", "scale"})
ALL = STEPS | WAITS | {"recovery"}

FULL, NORMAL = "WAL, synchronous FULL", "WAL, synchronous NORMAL"
AS_SHIPPED = "DELETE journal, synchronous FULL (as shipped)"
FULL_URL = "sqlite:///{folder}/flux.db"
NORMAL_URL = f"{FULL_URL}?synchronous=normal"
EVERYSEC = "append only, fsync every second"


def _flux(key: str, durability: str, url: str, answers: frozenset[str] = ALL) -> Entry:
    return Entry(
        key=f"flux-{key}",
        name="Flux",
        durability=durability,
        group=key,
        made_by="benchmarks.contenders.flux_engine:FluxContender",
        settings={"url": url},
        when_killed={"lease": 2.0},
        answers=answers,
        is_fresh_each_time=key == "memory",
    )


def _by_hand_sqlite(group: str, durability: str) -> Sequence[Entry]:
    synchronous = group.removeprefix("sqlite-")
    module = "benchmarks.contenders.by_hand_sqlite"
    return (
        Entry(
            key=f"by-hand-{group}",
            name="by hand, grouped commits",
            durability=durability,
            group=group,
            made_by=f"{module}:grouped",
            settings={"synchronous": synchronous},
            answers=ALL,
            is_baseline=True,
        ),
        Entry(
            key=f"by-hand-{group}-single",
            name="by hand, a transaction a step",
            durability=durability,
            group=group,
            made_by=f"{module}:one_by_one",
            settings={"synchronous": synchronous},
            answers=frozenset({"throughput", "latency", "saga"}),
        ),
    )


def _dbos(key: str, durability: str, settings: Mapping[str, object]) -> Entry:
    return Entry(
        key=key,
        name="DBOS",
        durability=durability,
        group="sqlite-full",
        made_by="benchmarks.contenders.dbos_sqlite:DBOSContender",
        settings=settings,
        needs=("dbos",),
        answers=ALL if "journal_mode" in settings else AS_SHIPPED_ANSWERS,
        at_most={
            "throughput": 512 if "journal_mode" in settings else 64,
            "signals": 500,
            "suspended": 500,
            "recovery": 200,
            "late_steps": 1_000,
        },
    )


def _taskflow(key: str, durability: str, settings: Mapping[str, object], at_once: int) -> Entry:
    return Entry(
        key=key,
        name="TaskFlow",
        durability=durability,
        group="sqlite-full",
        made_by="benchmarks.contenders.taskflow_sqlite:TaskFlowContender",
        settings=settings,
        needs=("taskflow", "sqlalchemy", "alembic"),
        answers=AS_SHIPPED_ANSWERS,
        at_most={"throughput": at_once},
    )


CONTENDERS: Sequence[Entry] = (
    Entry(
        key="by-hand-memory",
        name="by hand, a dict",
        durability="none: memory",
        group="memory",
        made_by="benchmarks.contenders.by_hand_memory:ByHandMemory",
        answers=STEPS | WAITS | {"documents"},
        is_baseline=True,
        is_fresh_each_time=True,
    ),
    _flux("memory", "none: memory", "memory:", STEPS | WAITS | {"documents"} | LOADED),
    *_by_hand_sqlite("sqlite-full", FULL),
    _flux("sqlite-full", FULL, FULL_URL, ALL | LOADED),
    _dbos("dbos", FULL, {"journal_mode": "wal"}),
    _dbos("dbos-as-shipped", AS_SHIPPED, {}),
    Entry(
        key="langgraph",
        name="LangGraph, durability sync",
        durability=f"{FULL} (as shipped)",
        group="sqlite-full",
        made_by="benchmarks.contenders.langgraph_sqlite:LangGraphContender",
        needs=("langgraph", "langgraph.checkpoint.sqlite"),
        answers=ALL,
        at_most={"signals": 1_000, "suspended": 1_000, "recovery": 200, "late_steps": 1_000},
    ),
    _taskflow("taskflow", FULL, {"journal_mode": "wal"}, at_once=64),
    # With more its callers wait for the lock until they fail.
    _taskflow("taskflow-as-shipped", AS_SHIPPED, {}, at_once=1),
    *_by_hand_sqlite("sqlite-normal", NORMAL),
    _flux("sqlite-normal", NORMAL, NORMAL_URL, ALL | LOADED),
    Entry(
        key="by-hand-redis",
        name="by hand, one HSET a step",
        durability=EVERYSEC,
        group="redis",
        made_by="benchmarks.contenders.by_hand_redis:one_by_one",
        needs=("redis",),
        answers=ALL,
        is_baseline=True,
    ),
    _flux("redis", EVERYSEC, "{redis}", ALL | LOADED),
)
