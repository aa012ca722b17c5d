"""Which instance a correlation means."""

from collections.abc import Mapping, Sequence
from typing import Any

from flux.definition.builder import Workflow
from flux.definition.correlation import by_parts, by_whole
from flux.definition.registry import Registry
from flux.definition.workflow import WorkflowDefinition
from flux.errors import (
    AmbiguousCorrelationError,
    CorrelationError,
    NothingCorrelatedError,
    listing,
)
from flux.frozen import frozen
from flux.state.status import ENDED, WorkflowStatus
from flux.storage import Signal, WorkflowFilter, WorkflowStorage, WorkflowSummary

_LIVE = tuple(status for status in WorkflowStatus if status not in ENDED)


@frozen
class Address:
    """A correlation, within one workflow or within all, as an index is asked for it."""

    correlation: Mapping[str, Any]
    workflow: str | None
    labels: Sequence[Mapping[str, str]]
    """Each of them finds some of the instances that may be meant."""

    @classmethod
    def of(
        cls,
        registry: Registry,
        correlation: Mapping[str, Any],
        workflow: Workflow | WorkflowDefinition | str | None,
    ) -> "Address":
        """Check the keys against the workflow, or against all that are known here."""
        if not isinstance(correlation, Mapping) or not correlation:
            raise CorrelationError(str(correlation), "give a dict with at least one key")
        if workflow is None:
            known = [definition.correlate_by for definition in registry.all]
            name = None
        else:
            name = registry.find(workflow).name
            known = [d.correlate_by for d in registry.all if d.name == name]
        # Without any workflow at hand, as in a process that only delivers, the index decides.
        if not known:
            return cls(correlation, name, [by_whole(correlation), by_parts(correlation)])
        _check_keys(correlation, [keys for keys in known if keys])
        keys = set(correlation)
        labels = [by_whole(correlation)] if any(keys == set(own) for own in known) else []
        if any(keys < set(own) for own in known):
            labels.append(by_parts(correlation))
        return cls(correlation, name, labels)

    async def live_instance(self, storage: WorkflowStorage) -> str | None:
        """The id of the only live instance that fits; None if there is none."""
        found = await self._found(storage, _LIVE, limit=10)
        if len(found) > 1:
            raise AmbiguousCorrelationError(dict(self.correlation), (s.id for s in found))
        return found[0].id if found else None

    async def ended_instance(self, storage: WorkflowStorage, signal: Signal) -> str:
        """The id of the newest ended one if it knows the signal, or `NothingCorrelatedError`."""
        if signal.signal_id is None:
            raise NothingCorrelatedError(dict(self.correlation))
        for summary in await self._found(storage, tuple(ENDED), limit=1):
            known = await storage.signals(summary.id)
            if any(one.signal.signal_id == signal.signal_id for one in known):
                return summary.id
        raise NothingCorrelatedError(dict(self.correlation))

    async def _found(
        self, storage: WorkflowStorage, statuses: Sequence[str], *, limit: int
    ) -> Sequence[WorkflowSummary]:
        found: dict[str, WorkflowSummary] = {}
        for labels in self.labels:
            filter = WorkflowFilter(name=self.workflow, labels=labels, status=statuses, limit=limit)
            found |= {summary.id: summary for summary in await storage.list(filter)}
        return list(found.values())


def _check_keys(correlation: Mapping[str, Any], known: Sequence[Sequence[str]]) -> None:
    for key in correlation:
        if not any(key in keys for keys in known):
            there = listing(dict.fromkeys(key for keys in known for key in keys))
            raise CorrelationError(str(key), f"no workflow here is found by it; there are: {there}")
    if not any(set(correlation) <= set(keys) for keys in known):
        raise CorrelationError(listing(correlation), "no workflow here is found by all of them")
