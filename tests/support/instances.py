"""Hypothesis strategies for instances and all that belongs to them."""

from datetime import UTC
from typing import Any, TypeVar

import attrs
import orjson
from hypothesis import strategies as st

from flux import Attempt, StoredError
from flux.events import AttemptEnd, DataChanges, Waiting
from flux.state.execution import Compensation, Execution, Tries
from flux.state.instance import Head, Origin, Parent, Turn
from flux.state.status import (
    Cancelling,
    CompensationStatus,
    Direction,
    Outcome,
    StepStatus,
    WorkflowStatus,
)

T = TypeVar("T")


def whole(cls: type[T], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """Objects of an attrs class; whoever adds a field to it has to add it here as well."""
    names = {field.name for field in attrs.fields(cls)}  # type: ignore[arg-type]
    assert names == set(fields), names ^ set(fields)
    return st.builds(cls, **fields)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text("abcxyzäß-", min_size=1, max_size=5)
counts = st.integers(0, 50)
ticks = st.integers(1, 10_000)
times = st.datetimes(timezones=st.just(UTC))

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
json_texts = json_values.map(orjson.dumps)
plain_data = st.dictionaries(texts, json_texts, max_size=3)
data_changes = whole(DataChanges, set=plain_data, deleted=st.lists(texts, max_size=2).map(tuple))

errors: st.SearchStrategy[StoredError] = st.recursive(
    st.builds(StoredError, type=names, message=texts, traceback=texts),
    lambda cause: st.builds(StoredError, type=names, message=texts, traceback=texts, cause=cause),
    max_leaves=3,
)
attempts = whole(
    Attempt,
    number=counts,
    started_at=times,
    ended_at=times,
    ended=st.sampled_from(AttemptEnd),
    error=errors,
)
compensations = whole(
    Compensation,
    status=st.sampled_from(CompensationStatus),
    attempts=counts,
    failures=counts,
    started_at=st.none() | times,
    ended_at=st.none() | times,
    error=st.none() | errors,
    reason=st.none() | texts,
    retry_at=st.none() | times,
    changes=st.none() | data_changes,
    finished=st.none() | ticks,
    run=ticks,
)
waits = whole(
    Waiting, signal=st.none() | names, until=st.none() | times, default=st.none() | json_texts
)
tries = whole(
    Tries,
    failures=counts,
    ended=st.lists(attempts, max_size=2).map(tuple),
    retry_at=st.none() | times,
    verifying=st.booleans(),
    verifications=counts,
    exhausted=st.booleans(),
)
executions = whole(
    Execution,
    number=ticks,
    step=names,
    status=st.sampled_from(StepStatus),
    place=ticks,
    generation=ticks,
    run=ticks,
    replaced=st.booleans(),
    outcome=st.none() | st.sampled_from(Outcome),
    asked=st.booleans(),
    attempts=counts,
    tries=tries,
    started_at=st.none() | times,
    ended_at=st.none() | times,
    waiting=st.none() | waits,
    suspended_at=st.none() | times,
    output=st.none() | json_texts,
    changes=st.none() | data_changes,
    finished=st.none() | ticks,
    folded=st.none() | ticks,
    error=st.none() | errors,
    compensation=st.none() | compensations,
    again=st.booleans(),
    closed=st.booleans(),
    batch_size=st.none() | ticks,
    left_out=st.booleans(),
    handled_by=st.none() | names,
    cached=st.booleans(),
    items=st.none() | json_texts,
    merged=st.none() | data_changes,
)
shapes = st.lists(st.tuples(names, st.just("step"), st.booleans(), st.lists(names, max_size=2)))
turns = whole(
    Turn, number=ticks, gates=st.lists(names, max_size=2).map(tuple), admitted=st.booleans()
)
heads = whole(
    Head,
    status=st.sampled_from(WorkflowStatus),
    direction=st.sampled_from(Direction),
    run=ticks,
    ticks=counts,
    recoveries=counts,
    error=st.none() | errors,
    reason=st.none() | texts,
    updated_at=times,
    ended_at=st.none() | times,
    cancelling=st.none() | st.sampled_from(Cancelling),
    undated=st.booleans(),
    inbox_read=counts,
    inbox_seen=counts,
    shape=shapes.map(orjson.dumps),
    version=names,
    turn=st.none() | turns,
    begun=st.dictionaries(names, ticks, max_size=2),
)
origins = whole(
    Origin,
    id=names,
    workflow=names,
    version=names,
    created_at=times,
    input=plain_data.map(lambda data: orjson.dumps(dict.fromkeys(data))),
    parent=st.none() | whole(Parent, id=names, step=names, depth=ticks),
    first_data=plain_data,
    labels=st.dictionaries(names, texts, max_size=2),
    shape=shapes.map(orjson.dumps),
    deadline=st.none() | times,
    unique_key=st.none() | names,
)
