"""Between records and instances: reading a stored one, making a new one, showing either."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from attrs import evolve

from flux.definition.correlation import correlation_labels, own_labels
from flux.definition.wait import RESERVED
from flux.definition.workflow import WorkflowDefinition
from flux.errors import FluxError, InstanceNotFoundError, StateUnreadableError
from flux.frozen import frozen
from flux.result import FluxResult
from flux.state.codec import decode_execution, decode_head, decode_origin
from flux.state.heads import first_head
from flux.state.instance import Instance, Origin, Parent
from flux.state.status import WorkflowStatus
from flux.state.strict_json import json_text
from flux.state.workflow_state import WorkflowState, workflow_state
from flux.storage import Entry, Record, WorkflowStorage


@frozen
class Loaded:
    """A stored instance and the record that it was read from.

    `was_ours` says that the engine that has claimed it held its lease already, unused.
    """

    instance: Instance
    record: Record
    was_ours: bool = False

    @property
    def status(self) -> WorkflowStatus:
        return self.instance.head.status

    @property
    def has_unseen(self) -> bool:
        """Whether a signal has come since a driver last looked."""
        return self.record.last_signal > self.instance.head.inbox_seen


async def load(storage: WorkflowStorage, id: str, *, history: bool = True) -> Loaded:
    """Read an instance, or `InstanceNotFoundError`. Without history it has no executions."""
    stored = await storage.load(id, history=history)
    if stored is None:
        raise InstanceNotFoundError(id)
    record, entries = stored
    return Loaded(stored_instance(record, entries), record)


def stored_instance(record: Record, entries: Sequence[Entry]) -> Instance:
    """The instance that a record and its entries tell of, or `StateUnreadableError`."""
    try:
        return _decoded(record, entries)
    except FluxError:
        raise
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise StateUnreadableError(record.id, f"{type(error).__name__}: {error}") from error


def _decoded(record: Record, entries: Sequence[Entry]) -> Instance:
    origin = decode_origin(
        record.fixed,
        id=record.id,
        workflow=record.workflow,
        version=record.version,
        created_at=record.created_at,
        labels=record.labels,
        unique_key=record.unique_key,
    )
    head = decode_head(
        record.payload,
        status=record.status,
        updated_at=record.updated_at,
        ended_at=record.ended_at,
    )
    if head.begun:
        # What the intent does not name was called off before it began.
        begun = {step: head.begun[step] for step in head.begun if step in record.intent}
        head = evolve(head, begun=begun)
    return Instance(origin, head, (decode_execution(e.number, e.body) for e in entries))


def new_instance(
    definition: WorkflowDefinition,
    *,
    id: str,
    input: bytes,
    labels: Mapping[str, str],
    at: datetime,
    parent: Parent | None = None,
) -> Instance:
    """An instance to which nothing has happened yet."""
    first_data = definition.first_data()
    correlation = definition.correlation(orjson.loads(input)) if definition.correlate_by else {}
    limit = definition.deadline
    origin = Origin(
        id=id,
        workflow=definition.name,
        version=definition.version,
        created_at=at,
        input=input,
        first_data={key: json_text(value, f"data.{key}") for key, value in first_data.items()},
        labels={**labels, **_own_labels(correlation, parent)},
        shape=definition.shape_text,
        deadline=None if limit is None else at + timedelta(seconds=limit),
        unique_key=definition.unique_key(correlation),
        parent=parent,
    )
    return Instance(origin, first_head(at))


PARENT = f"{RESERVED}parent"
"""The label by which the children of an instance are found."""


def _own_labels(correlation: Mapping[str, Any], parent: Parent | None) -> dict[str, str]:
    labels = correlation_labels(correlation) if correlation else {}
    return labels if parent is None else {**labels, PARENT: parent.id}


def shown(
    definition: WorkflowDefinition | None,
    instance: Instance,
    intent: tuple[str, ...],
    *,
    replaced: bool = False,
) -> WorkflowState:
    """The instance as users see it, typed if its workflow is known here."""
    typed: dict[str, Any] = {}
    if definition is not None:
        typed = {"typed_input": definition.typed_input, "typed_data": definition.typed_data}
    return workflow_state(instance, intent=intent, replaced=replaced, labels=own_labels, **typed)


def result_of(
    definition: WorkflowDefinition | None, instance: Instance, intent: tuple[str, ...]
) -> FluxResult:
    """What the verbs return of an instance at its rest."""
    head = instance.head
    return FluxResult(
        id=instance.id,
        status=head.status,
        error=head.error,
        duration=(head.updated_at - instance.origin.created_at).total_seconds(),
        view=partial(shown, definition, instance, intent),
    )
