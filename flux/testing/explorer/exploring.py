"""The exploration: the whole run, then one run for every way to die at every save of it."""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import Factory, define

from flux.config import FluxConfig
from flux.definition.policy import Duration, seconds
from flux.state.status import Direction, WorkflowStatus
from flux.testing.explorer.app import LAST, App, Explored
from flux.testing.explorer.effects import Outside, World
from flux.testing.explorer.errors import ExplorationError
from flux.testing.explorer.judging import Judged
from flux.testing.explorer.outcome import Outcome
from flux.testing.explorer.points import Course, CrashPoint, When
from flux.testing.explorer.report import CrashFinding, CrashReport
from flux.testing.explorer.running import Run, Scene, StorageFactory, explored_under, memory
from flux.testing.explorer.script import ScriptAction, checked_script


async def explore(
    workflow: Explored,
    input: Any = None,
    *,
    effects: World = None,
    script: Sequence[ScriptAction] = (),
    storage: StorageFactory = memory,
    rollback: bool = True,
    ignore: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
    config: FluxConfig | None = None,
    limit: Duration = 10,
) -> CrashReport:
    """Run a workflow whole, then once for every way in which its process may die at a save.

    After each death another engine goes on, on the same storage; what the dead one held runs out on
    a clock that only this exploration moves. What the runs come to is compared with the whole run:
    status, data, outputs, `effects`; and each must keep the rules: no step with a saved result runs
    again, nothing forward runs in a rollback, undoing is the reverse of completion, nothing is
    stuck. With `rollback`, a workflow that completes is also run with a last step that fails, and
    the saves of that rollback are crash points too.

    `workflow` may be a function that makes it, called for every process. `script` is what happens
    from outside, each action once all is at rest; after the last one timers run out by themselves.
    `storage` makes a fresh storage for each run. `effects` is the world that the steps act on;
    it is put back before each run and at the end.
    `ignore` holds patterns of paths that may differ: `data.token`, `steps.charge.output.*`,
    `effects.*.at`. `only` repeats the crash points with these seeds. `limit` is in seconds of real
    time for one run.

    `ExplorationError` if a run does not end, or does not fit its script; `TypeError` or
    `ValueError` for what makes no sense.
    """
    seeds, ignored = _listed("only", only), _listed("ignore", ignore)
    if not seconds(limit):
        raise ValueError(f"limit={limit!r}: a run takes time")
    scene = Scene(
        app=App.of(workflow),
        input=input,
        storage=_factory(storage),
        outside=Outside(effects),
        script=checked_script(script),
        config=explored_under(config),
        limit=seconds(limit),
    )
    exploration = _Exploration(scene, ignore=ignored, only=frozenset(map(CrashPoint.parse, seeds)))
    try:
        await exploration.walk(Course.FORWARD)
        if rollback and exploration.may_roll_back:
            await exploration.walk(Course.ROLLBACK)
    finally:
        await scene.outside.reset()
    exploration.check_seeds()
    return exploration.report()


@define
class _Exploration:
    scene: Scene
    ignore: Sequence[str]
    only: frozenset[CrashPoint]
    name: str = ""
    saves: int = 0
    points: int = 0
    chosen: set[CrashPoint] = Factory(set)
    findings: list[CrashFinding] = Factory(list)
    given_up: list[str] = Factory(list)
    unreached: list[str] = Factory(list)
    may_roll_back: bool = False
    status: str = ""
    resting: Sequence[str] = ()
    untaken: Sequence[str] = ()

    async def walk(self, course: Course) -> None:
        """The whole run, and its crash points."""
        whole = await self._whole(course)
        if whole is None:
            return
        for point in self._chosen(course, whole):
            struck = await Run(self.scene, course, point).outcome()
            self.points += 1
            self._judge(Judged(course, point, struck), whole)

    async def _whole(self, course: Course) -> Outcome | None:
        """The run without a crash; None if there is no use in going on."""
        run = Run(self.scene, course)
        whole = await run.outcome()
        if course is Course.ROLLBACK and LAST not in whole.document["steps"]:
            return None  # the end was not reached, as by a step that leads elsewhere
        self.name = run.name
        self.saves += whole.story.tried
        if whole.refused:
            raise ExplorationError(f"the script does not fit the run: {whole.refused[0]}")
        if course is Course.FORWARD:
            self.status, self.resting = whole.status, whole.resting
            self.untaken = whole.untaken
        self._judge(Judged(course, None, whole), whole)
        again = await Run(self.scene, course).outcome()
        self._judge(Judged(course, None, again), whole)
        self.may_roll_back = (
            course is Course.FORWARD
            and not self.findings
            and whole.status == WorkflowStatus.COMPLETED
            and self.scene.app.can_be_undone()
        )
        return None if any(f.point is None for f in self.findings) else whole

    def _chosen(self, course: Course, whole: Outcome) -> Iterator[CrashPoint]:
        first = 1
        if course is Course.ROLLBACK:
            # What comes before it was struck on the way forward.
            back = (s.number for s in whole.story.saves if s.direction is Direction.BACK)
            first = next(back, whole.story.tried + 1)
        for number in range(first, whole.story.tried + 1):
            for when in When:
                point = CrashPoint(number, when, course)
                if not self.only or point in self.only:
                    self.chosen.add(point)
                    yield point

    def _judge(self, judged: Judged, whole: Outcome) -> None:
        outcome, seed = judged.outcome, str(judged.point)
        if judged.point is not None and outcome.story.struck is None:
            self.unreached.append(seed)
        self.findings += judged.rules()
        if outcome.left.gave_up - whole.left.gave_up:
            self.given_up.append(seed)
            if outcome.status == WorkflowStatus.ROLLBACK_FAILED:
                # To give up is by design; a compensator that cannot undo it then is not.
                found = judged.differences(whole, self.ignore)
                self.findings += [one for one in found if one.rule == "status"]
        else:
            self.findings += judged.differences(whole, self.ignore)

    def check_seeds(self) -> None:
        """`ExplorationError` for a seed that no whole run has."""
        missing = sorted(map(str, self.only - self.chosen))
        if missing and not self.findings:
            raise ExplorationError(f"no run has the crash points {', '.join(missing)}")

    def report(self) -> CrashReport:
        return CrashReport(
            workflow=self.name,
            saves=self.saves,
            points=self.points,
            findings=tuple(dict.fromkeys(self.findings)),
            given_up=tuple(self.given_up),
            unreached=tuple(self.unreached),
            status=self.status,
            resting=tuple(self.resting),
            untaken=tuple(self.untaken),
        )


def _listed(name: str, given: str | Sequence[str]) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, str) else given
    if not isinstance(listed, list | tuple | set | frozenset):
        raise TypeError(f"{name}={given!r}: give a text, or a list of them")
    if not all(isinstance(one, str) for one in listed):
        raise TypeError(f"{name}={given!r}: give texts")
    return tuple(listed)


def _factory(storage: object) -> StorageFactory:
    if not callable(storage):
        raise TypeError(
            f"storage={storage!r}: give a function that makes a storage, since each run needs a "
            "fresh one"
        )
    return storage
