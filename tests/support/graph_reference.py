"""What becomes of an instance of a graph: the join rule, interpreted step by step.

It knows nothing of the engine. `begin` says what runs, a test says which of that ends next, and so
on to the end. Whatever needs no handler happens at once, in the order of running one at a time.
"""

from collections.abc import Iterator
from functools import reduce

from attrs import Factory, define

from graph_layout import Graph
from graph_plans import Act, Node, act_of, merged

CONTINUED = "flux:continue"
Data = dict[str, object]
Writes = dict[str, object]
"""By key, the value that was written; None for a deletion."""


@define
class Entry:
    """What is known of one step, or of one call of a map."""

    status: str = "running"
    attempts: int = 0
    is_due: bool = False
    """Whether its next attempt is to begin as soon as there is room."""
    failed_attempts: int = 0
    has_completed: bool = False
    may_have_acted: bool = False
    """Whether an attempt ended without anybody knowing how, and none completed since."""
    left_out: bool = False
    handled_by: str | None = None
    output: object = None
    error: str | None = None
    began: int = 0
    finished: int = 0
    undone: bool = False
    undo_attempts: int = 0


@define
class Running:
    """A call under way: the number of the attempt and the data it saw."""

    attempt: int
    seen: Data = Factory(dict)


class Reference:
    """One instance: `running` is under way, `undoing` are those of which one is undone now."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.status = "running"
        self.error: str | None = None
        self.entries: dict[str, Entry] = {}
        self.running: dict[str, Running] = {}
        self.undoing: frozenset[str] = frozenset()
        self.undo_interrupts = 0
        """How often a process died in the compensator that runs now."""
        self.asked: list[str] = []
        self.has_cancelled = False
        """Whether others were cancelled by what ended last."""
        self._never: set[str] = set()
        self._reached: set[str] = set()
        self._writes: list[tuple[str, Writes]] = []
        self._map_data: dict[str, Data] = {}
        self._is_back = False
        self._ticks = 0

    @property
    def data(self) -> Data:
        return self._fold(self._writes)

    # What happens

    def begin(self) -> None:
        """Let all happen that waits for no handler, and begin what there is room for."""
        begin: list[str] = []
        while not self._is_back and self._one(begin):
            pass
        if not self._is_back:
            for name in begin:
                self._begin(name)
            if not self.running:
                self.status = "completed"
        elif not self.running:
            self._close()

    def end(self, name: str) -> None:
        """The handler of this step, which runs, goes on to its end."""
        running = self.running.pop(name)
        self.has_cancelled = False
        node, index = self._node(name)
        act = act_of(self._script(node, index), running.attempt)
        entry = self.entries[name]
        entry.attempts = running.attempt
        self._ticks += 1
        if act is Act.WELL:
            self._complete(name, f"{name}#{running.attempt}", running)
            return
        entry.failed_attempts += 1
        entry.may_have_acted |= act is Act.DOUBTS
        entry.error = f"{_TYPES[act]}: {name}#{running.attempt}"
        if entry.failed_attempts <= node.retries:
            entry.is_due = not self._is_back
            return
        self._fail(name, entry.error)

    def undo(self, name: str) -> None:
        """The compensator of this step goes on to its end."""
        entry = self.entries[name]
        self.has_cancelled = False
        entry.undo_attempts += 1 + self.undo_interrupts
        self.undo_interrupts = 0
        if self._node(name)[0].undo is not Act.WELL:
            self.status, self.undoing = "rollback_failed", frozenset()
            return
        entry.undone = True
        self._next_undo()

    def crash(self) -> None:
        """The process dies, and another one takes over from what is saved, which is all of this."""
        for name, running in self.running.items():
            entry = self.entries[name]
            entry.attempts = running.attempt
            entry.may_have_acted = True
            entry.error = "OutcomeUnknownError"
            entry.is_due = not self._is_back
        self.running.clear()
        self._map_data.clear()
        if self.undoing:
            self.undo_interrupts += 1
        else:
            self.begin()

    # The way forward

    def _one(self, begin: list[str]) -> bool:
        """Let the first thing happen that can; whether anything did."""
        order = self.graph.order
        return any(map(self._is_out, order)) or any(self._moves(name, begin) for name in order)

    def _is_out(self, name: str) -> bool:
        """Whether it turns out that it never runs."""
        if name in self._never or name in self.entries or name in self._reached:
            return False
        ready, is_left_out, is_unmet = self._rule(name)
        if ready is False and not is_unmet:
            self._never.add(name)
            if is_left_out:
                self.entries[name] = Entry(status="skipped", left_out=True)
        return name in self._never

    def _moves(self, name: str, begin: list[str]) -> bool:
        node = self.graph.nodes[name]
        if name in self._never or self._is_settled(name):
            return False
        if name in self.entries and node.items is not None:
            return self._map_moves(node, begin)
        if name in self.entries:
            return self._joins(name, begin)
        if name in self._reached:
            return self._acts(node, begin)
        return self._is_reached(node, begin)

    def _is_reached(self, node: Node, begin: list[str]) -> bool:
        name = node.name
        ready, _, is_unmet = self._rule(name)
        if is_unmet:
            self._fail(name, "JoinNotMetError")
        elif ready and self._takes_room(node) and not self._room(name, begin):
            return False
        elif ready:
            self._reached.add(name)
            self._ask(node)
        return ready is not None

    def _takes_room(self, node: Node) -> bool:
        """Whether what is reached waits for room: it asks nothing before it may begin."""
        return node.when is not None or node.cases is None

    def _ask(self, node: Node) -> None:
        if node.when is None:
            return
        self.asked.append(f"when {node.name}")
        if node.when == "raises":
            self._fail(node.name, f"BoomError: when {node.name}")
        elif not node.when:
            self.entries[node.name] = Entry(status="skipped")

    def _acts(self, node: Node, begin: list[str]) -> bool:
        name = node.name
        if node.cases is not None:
            self.asked.append(f"on {name}")
            if node.cases.choice is None:
                self._fail(name, f"BoomError: on {name}")
            elif node.cases.fails:
                self._fail(name, "NoCaseError")
            else:
                self._settle(name, node.cases.chosen)
            return True
        if node.items is not None:
            self.asked.append(f"over {name}")
            if node.items.count is None:
                self._fail(name, "NotAListError")
            else:
                self.entries[name] = Entry(attempts=1)
            return True
        return self._joins(name, begin)

    def _joins(self, name: str, begin: list[str]) -> bool:
        """Whether it is one more of those that begin."""
        entry = self.entries.get(name)
        under_way = name in self.running or name in begin
        if under_way or (entry is not None and not entry.is_due) or not self._room(name, begin):
            return False
        begin.append(name)
        return True

    def _room(self, name: str, begin: list[str]) -> bool:
        if len(self.running) + len(begin) >= self.graph.most:
            return False
        group = self.graph.group(name)
        if group is None or group.concurrency is None or name in self.entries:
            return True
        others = [one for chain in group.chains for one in chain if one != name]
        return sum(self._is_under_way(one, begin) for one in others) < group.concurrency

    def _is_under_way(self, name: str, begin: list[str]) -> bool:
        entry = self.entries.get(name)
        return name in begin or (entry is not None and entry.status == "running")

    def _map_moves(self, node: Node, begin: list[str]) -> bool:
        assert node.items is not None
        names = [f"{node.name}[{index}]" for index in range(node.items.calls)]
        calls = {name: self.entries[name] for name in names if name in self.entries}
        failed = [name for name, entry in calls.items() if entry.handled_by == node.name]
        runs = [name for name in names if name in self.running or name in begin]
        if failed:
            if not runs:
                self._fail_map(node, min(failed, key=lambda one: calls[one].finished))
            return not runs
        ended = sum(entry.status != "running" for entry in calls.values())
        if ended == len(names):
            self._settle(node.name, _output(node, calls))
            return True
        begun = len(set(calls) | set(runs)) - ended
        bound = node.items.concurrency or self.graph.most
        for name in names:
            known = name in calls or name in begin
            if (known or begun < bound) and self._joins_call(name, begin):
                return True
        return False

    def _joins_call(self, name: str, begin: list[str]) -> bool:
        entry = self.entries.get(name)
        if (
            name in self.running
            or name in begin
            or len(self.running) + len(begin) >= self.graph.most
        ):
            return False
        if entry is not None and not entry.is_due:
            return False
        begin.append(name)
        return True

    def _fail_map(self, node: Node, first: str) -> None:
        error = f"MapFailedError: {first}"
        for name, entry in self.entries.items():
            if self.graph.step_of(name) == node.name != name and entry.status == "running":
                entry.status, entry.is_due = "failed", False
                entry.error, entry.handled_by = error, node.name
        self._fail(node.name, error)

    def _begin(self, name: str) -> None:
        entry = self.entries.setdefault(name, Entry(began=self._ticks))
        entry.is_due = False
        self.running[name] = Running(entry.attempts + 1, self._seen(name))

    # The rule

    def _rule(self, name: str) -> tuple[bool | None, bool, bool]:
        """Whether it is ready, None for not yet; whether a branch left it out; or cannot be met."""
        edges = {source: self._edge(source, name) for source in self.graph.after[name]}
        rescued = [self._is_rescued(source, name) for source in self.graph.rescued.get(name, ())]
        found = [*edges.values(), *rescued]
        if not found:
            return name not in self.graph.apart, False, False
        taken, open_ = found.count(True), found.count(None)
        join = self.graph.nodes[name].join
        rescues = self.graph.rescued.get(name, ())
        left_out = any(self._leaves_out(source, name) for source in edges)
        # What is only for others is left out with all of them.
        left_out |= not edges and all(self._leaves_out(source, name) for source in rescues)
        if join is None:
            return (None if open_ else taken > 0), left_out, False
        needed = {"all": len(found), "any": 1}.get(str(join), join)
        assert isinstance(needed, int)
        if taken >= needed:
            return True, False, False
        if open_:
            return None, False, False
        return False, left_out and not taken, taken > 0

    def _edge(self, source: str, target: str) -> bool | None:
        """Whether the edge is taken; None for not yet."""
        if source in self._never:
            return False
        entry, node = self.entries.get(source), self.graph.nodes[source]
        if entry is None or entry.status == "running":
            return None
        firsts = self.graph.firsts(source)
        if entry.status == "skipped":
            return target not in firsts
        if entry.status == "completed":
            if node.cases is None:
                return True
            return target in node.cases.begun[:1] if target in firsts else not node.cases.begun
        if entry.handled_by is not None and entry.handled_by == node.fallback:
            return self._edge(node.fallback, target)
        return entry.handled_by == CONTINUED

    def _is_rescued(self, source: str, by: str) -> bool | None:
        entry = self.entries.get(source)
        if source not in self._never and (entry is None or entry.status == "running"):
            return None
        return entry is not None and entry.handled_by == by

    def _leaves_out(self, source: str, target: str) -> bool:
        entry = self.entries.get(source)
        if entry is None or entry.status != "completed":
            return entry is not None and entry.left_out
        return target in self.graph.firsts(source)

    def _is_settled(self, name: str) -> bool:
        entry = self.entries.get(name)
        return entry is not None and entry.status != "running"

    # Ends

    def _settle(self, name: str, output: object) -> None:
        entry = self.entries.setdefault(name, Entry())
        entry.status, entry.output, entry.has_completed = "completed", output, True
        entry.attempts, entry.finished = entry.attempts or 1, self._ticks
        entry.error = None

    def _complete(self, name: str, output: str, running: Running) -> None:
        node, index = self._node(name)
        entry = self.entries[name]
        if node.items is not None and node.items.batch_size is not None:
            numbers = node.items.batch(index)
            self._settle(name, [f"{number}#{running.attempt}" for number in numbers])
        else:
            self._settle(name, output)
        entry.may_have_acted = False
        seen = running.seen
        changed: Writes = {
            key: value
            for key, value in node.written(index)
            if (key in seen if value is None else seen.get(key) != value)
        }
        against = self._conflict(name, changed)
        self._writes.append((name, changed))
        if against is not None:
            if not self._is_back and self.graph.fail_fast:
                self._cancel(list(self.running))
            self._turn(f"DataConflictError: {against}")

    def _conflict(self, name: str, changed: Writes) -> str | None:
        for other, writes in self._writes:
            for key, value in changed.items():
                beside = key in writes and self.graph.are_beside(other, name)
                if beside and writes[key] != value and key not in self.graph.merges:
                    return name
        return None

    def _fail(self, name: str, error: str) -> None:
        entry = self.entries.setdefault(name, Entry())
        entry.status, entry.error, entry.is_due = "failed", error, False
        entry.finished = self._ticks
        if self._is_back:
            return
        entry.handled_by = self._handler(name, error)
        if entry.handled_by is None:
            self._turn(error)
            self._cancel(self._beside(name))
        elif entry.handled_by == self.graph.step_of(name):
            items = self._node(name)[0].items
            assert items is not None
            if items.on_item_failure == "cancel":
                step = self.graph.step_of(name)
                self._cancel([one for one in self.running if self.graph.step_of(one) == step])

    def _handler(self, name: str, error: str) -> str | None:
        node, _ = self._node(name)
        if name != node.name and node.items is not None:
            return CONTINUED if node.items.on_item_failure == "continue" else node.name
        for handler, types in self.graph.rescues[name]:
            if not types or error.partition(":")[0] in [_TYPES[act] for act in types]:
                return handler
        return CONTINUED if node.continues else None

    def _beside(self, name: str) -> list[str]:
        """What is cancelled since this step has failed."""
        if self.graph.fail_fast:
            return list(self.running)
        group = self.graph.group(name)
        if group is None or not group.fail_fast:
            return []
        return [one for one in self.running if self.graph.group(self.graph.step_of(one)) is group]

    def _cancel(self, names: list[str]) -> None:
        for name in names:
            self.has_cancelled = True
            entry = self.entries[name]
            entry.attempts = self.running.pop(name).attempt
            entry.may_have_acted = True

    # The way back

    def _turn(self, error: str) -> None:
        self._is_back = True
        self.error = self.error or error

    def _close(self) -> None:
        for entry in self.entries.values():
            if entry.status == "running":
                entry.status, entry.error = "failed", self.error
        self._next_undo()
        if not self.undoing:
            self.status = "failed"

    def _next_undo(self) -> None:
        owed = [name for name, entry in self.entries.items() if self._is_owed(name, entry)]
        unknown = [name for name in owed if self.entries[name].may_have_acted]
        last = max((self.entries[name].began for name in unknown), default=None)
        if last is not None:
            self.undoing = frozenset(n for n in unknown if self.entries[n].began == last)
        else:
            latest = max(owed, key=lambda name: self.entries[name].finished, default=None)
            self.undoing = frozenset(() if latest is None else (latest,))
        if not owed:
            self.status = "rolled_back"

    def _is_owed(self, name: str, entry: Entry) -> bool:
        node, _ = self._node(name)
        acted = entry.has_completed or entry.may_have_acted
        is_call = node.items is None or name != node.name
        return acted and is_call and node.undo is not None and not entry.undone

    # Data

    def _seen(self, name: str) -> Data:
        step = self.graph.step_of(name)
        if step in self._map_data:
            return self._map_data[step]
        before = self.graph.ancestors[step]
        data = self._fold([w for w in self._writes if self.graph.step_of(w[0]) in before])
        if step != name:
            self._map_data[step] = data
        return data

    def _fold(self, writes: list[tuple[str, Writes]]) -> Data:
        data: Data = {}
        for _, changed in writes:
            for key, value in changed.items():
                data.pop(key, None)
                if value is not None:
                    data[key] = value
        for key in self.graph.merges & {key for _, changed in writes for key in changed}:
            data.pop(key, None)
            value = self._merged(key, [w for w in writes if key in w[1]])
            if value is not None:
                data[key] = value
        return data

    def _merged(self, key: str, writes: list[tuple[str, Writes]]) -> object:
        """Of the values that nobody after them in the graph wrote over."""
        last = [
            changed[key]
            for place, (name, changed) in enumerate(writes)
            if all(self.graph.are_beside(name, later) for later, _ in writes[place + 1 :])
        ]
        if all(value is None for value in last):
            return None
        # A deletion has nothing to merge.
        return reduce(merged, [value for value in last if value is not None])

    # Small things

    def _node(self, name: str) -> tuple[Node, int]:
        """The step, and the index if it is a call of a map."""
        step = self.graph.step_of(name)
        index = int(name[len(step) + 1 : -1]) if step != name else -1
        return self.graph.nodes[step], index

    def _script(self, node: Node, index: int) -> tuple[Act, ...]:
        return node.script if node.items is None else node.items.script(index)


_TYPES = {Act.BOOMS: "BoomError", Act.SLIPS: "SlipError", Act.DOUBTS: "OutcomeUnknownError"}


def _output(node: Node, calls: dict[str, Entry]) -> dict[str, object]:
    assert node.items is not None
    results: list[object] = []
    errors: list[tuple[int, str]] = []
    for index, entry in enumerate(_in_order(node, calls)):
        batch = node.items.batch(index)
        if entry.has_completed:
            results += entry.output if isinstance(entry.output, list) else [entry.output]
        else:
            results += [None] * len(batch)
            errors += [(number, str(entry.error)) for number in batch]
    succeeded = len(results) - len(errors)
    told = [{"index": at, **_told(error)} for at, error in errors]
    return {"results": results, "succeeded": succeeded, "failed": len(errors), "errors": told}


def _in_order(node: Node, calls: dict[str, Entry]) -> Iterator[Entry]:
    assert node.items is not None
    return (calls[f"{node.name}[{index}]"] for index in range(node.items.calls))


def _told(error: str) -> dict[str, str]:
    type_, _, message = error.partition(": ")
    return {"type": type_, "message": message}
