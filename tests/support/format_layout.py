"""What the stored format is, as the present code writes it: names and types, without the values.

Two codes with the same layout read what the other has written; a test keeps the layout of each
format number. Its sections:

- `documents`: by kind, the paths of a JSON document; those with a `?` may be missing;
- `enumerations`: the texts that stand for statuses and the like;
- `shapes`: what instances remember of workflows, as it stands;
- `signals` and `values`: the paths of Flux's own signals and shared values;
- `sqlite`: the migrations, as they stand;
- `redis`: the version and the fields of its keys.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin

import attrs
import orjson

from flux.definition.wait import RESERVED
from flux.events import AttemptEnd
from flux.state import codec, status
from flux.state.execution import Execution
from flux.state.instance import Head, Origin
from flux_storages.redis import SCHEMA
from flux_storages.sqlite_file import MIGRATIONS
from kept_lives import Lives
from kept_places import dump_redis, take
from kept_workflows import World
from redis_on_clock import RedisOnClock

Layout = dict[str, Any]

_ENUMERATIONS = (
    AttemptEnd,
    status.Cancelling,
    status.CompensationStatus,
    status.Direction,
    status.Outcome,
    status.StepStatus,
    status.WorkflowStatus,
)
_KINDS: Mapping[str, tuple[type, Any]] = {
    "origin": (Origin, codec.encode_origin),
    "head": (Head, codec.encode_head),
    "execution": (Execution, codec.encode_execution),
}


async def layout(url: str) -> Layout:
    """The layout of all that is stored; `url` is an empty place in a Redis."""
    lives = Lives(storage := RedisOnClock.from_url(url))
    await lives.live()
    await storage.init(lives.clock)
    taken = await take(storage, lives.values, lives.clock.now())
    await storage.close()
    return {
        "documents": {kind: _document(*known) for kind, known in _KINDS.items()},
        "enumerations": {one.__name__: [str(member) for member in one] for one in _ENUMERATIONS},
        "shapes": {one.name: orjson.loads(one.build().shape_text) for one in World().workflows()},
        "signals": _merged(_own_signals(taken["instances"])),
        "values": _merged((key.partition(":")[0], value) for key, value in taken["values"].items()),
        "sqlite": {str(number): text.split("\n") for number, text in enumerate(MIGRATIONS, 1)},
        "redis": {"version": SCHEMA, "keys": _keys(dump_redis(url))},
    }


def complaint(kept: Layout, present: Layout, number: int) -> str:
    """What differs from the layout kept with this format number, and what to do; "" if nothing."""
    was, now = dict(_leaves("", kept)), dict(_leaves("", present))
    changed = [
        f"  {path}: was {was.get(path, 'nothing')}, is {now.get(path, 'nothing')}"
        for path in sorted(was | now)
        if was.get(path) != now.get(path)
    ]
    if not changed:
        return ""
    head = f"what is stored is no longer format {number}:"
    return "\n".join([head, *changed, _TO_DO.format(number=number, following=number + 1)])


_TO_DO = """So that instances stored before are still read:
1. raise FORMAT in flux/state/codec.py to {following}, and give UPGRADES[{number}] what makes
   documents of format {number} into the new ones (for SQLite add a migration and change none; for
   Redis raise SCHEMA; shared values have no number: go on reading the old ones);
2. keep instances of the new format: PYTHONPATH=tests/support python tests/upgrades/write.py
The files of format {number} stay as they are; only if no release has written it, delete them and
write them anew instead."""


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    else:
        yield path, str(value)


# Documents: one of each kind in which nothing is missing, and one in which all is that may be


def _document(cls: type, encode: Any) -> dict[str, str]:
    paths = dict(_paths("", orjson.loads(encode(_value(cls)))))
    always = dict(_paths("", orjson.loads(encode(_value(cls, is_bare=True)))))
    return {path if path in always else f"{path}?": kind for path, kind in sorted(paths.items())}


def _value(kind: Any, *, is_bare: bool = False, inside: tuple[Any, ...] = ()) -> Any:
    if attrs.has(kind):
        fields = attrs.fields(attrs.resolve_types(kind))
        needed = (f for f in fields if f.eq and not (is_bare and f.default is not attrs.NOTHING))
        within = (*inside, kind)
        return kind(**{f.name: _value(f.type, is_bare=is_bare, inside=within) for f in needed})
    parts = get_args(kind)
    if NoneType in parts:
        (given,) = (part for part in parts if part is not NoneType)
        return None if is_bare or inside.count(given) > 1 else _value(given, inside=inside)
    if get_origin(kind) is tuple:
        return (_value(parts[0], inside=inside),)
    if parts:
        return {"*": _value(parts[1], inside=inside)}
    if issubclass(kind, Enum):
        return next(iter(kind))
    return _SAMPLES[kind]


_SAMPLES: Mapping[type, Any] = {
    bool: True,
    bytes: b'{"any JSON": null}',
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    float: 1.5,
    int: 7,
    str: "text",
}


# Paths and types


def _paths(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if value == {"any JSON": None}:
        yield path, "any JSON"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            # Within a list of lists, a place has a meaning of its own.
            yield from _paths(f"{path}[{place if path.endswith('[]') else ''}]", inner)
    else:
        yield path, _type(value)


def _type(value: Any) -> str:
    """Of a text also its form, if it is a number, a time, or JSON."""
    if not isinstance(value, str):
        return {bool: "flag", int: "number", float: "number", NoneType: "null"}[type(value)]
    if re.fullmatch(r"\d+", value):
        return "digits"
    if re.match(r"\d{4}-\d\d-\d\dT", value):
        return re.sub(r"\d", "0", value).split(" ")[0]
    return "JSON" if value[:1] in ("{", "[") else "text"


def _merged(values: Iterable[tuple[str, Any]]) -> dict[str, str]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in values:
        for path, kind in _paths(name, value):
            found[path].add(kind)
    return {path: " or ".join(sorted(kinds)) for path, kinds in sorted(found.items())}


def _own_signals(instances: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for instance in instances:
        for signal in instance["inbox"]:
            if signal["name"].startswith(RESERVED):
                yield ":".join(signal["name"].split(":")[:2]), signal["payload"]


# Redis


def _keys(dump: str) -> dict[str, str]:
    """By the first part of a key and the field in it, what it holds."""
    return _merged(part for line in dump.splitlines() for part in _parts(orjson.loads(line)))


def _parts(line: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    name, kind, value = line["key"].partition(":")[0], line["type"], line["value"]
    if kind == "hash":
        own = name in ("head", "history", "inbox")
        for field, text in value.items():
            shown = re.sub(r"\d+|(?<=id:).*", "*", field) if own else "*"
            yield f"{name} hash {shown}", text
    elif kind == "string":
        yield f"{name} string", value
    else:
        for member in value:
            text, score = member if kind == "zset" else (member, 0)
            yield f"{name} {kind}", text
            yield f"{name} {kind} score", str(int(score))
