"""All contenders, by group; who is one of those that promise the same is compared with them."""

from collections.abc import Sequence

from benchmarks.contender import Entry

STEPS = frozenset({"throughput", "latency", "saga", "late_steps", "cold_start"})
WAITS = frozenset({"signals", "suspended"})
ALL = STEPS | WAITS | {"recovery"}

FULL, NORMAL = "WAL, synchronous FULL", "WAL, synchronous NORMAL"
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
            answers=frozenset({"throughput", "latency", "saga", "signals"}),
        ),
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
    _flux("memory", "none: memory", "memory:", STEPS | WAITS | {"documents", "at_rest"}),
    *_by_hand_sqlite("sqlite-full", FULL),
    _flux("sqlite-full", FULL, FULL_URL, ALL | {"at_rest"}),
    *_by_hand_sqlite("sqlite-normal", NORMAL),
    _flux("sqlite-normal", NORMAL, NORMAL_URL, ALL | {"at_rest"}),
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
    _flux("redis", EVERYSEC, "{redis}", ALL | {"at_rest"}),
)
