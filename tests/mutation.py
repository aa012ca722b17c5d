"""Makes mutants of the modules that decide, and tells which of them no test notices.

`tox run -e mutation` runs it in the checkout; `[tool.mutmut]` in pyproject.toml has the modules and
the tests. It fails if a mutant survives that docs/mutation.md does not list. What to run is told by
the environment; without any of it, all mutants that have not been run yet are:

    FLUX_MUTATION_MODULES   the modules, as `plan waiting`
    FLUX_MUTATION_SAMPLE    so many mutants of each module, drawn by chance
    FLUX_MUTATION_SEED      what the draw begins with, 0 without it
    FLUX_MUTATION_SECONDS   stop after so long; the next run goes on from there

mutmut makes the mutants, and finds out which tests come to which function. What mypy refuses needs
no test. For the others mutmut would collect the tests anew each time, which takes longer than to
catch a mutant. Here they are collected once, and each mutant is tried in a fork of that process.
"""

import faulthandler
import gc
import json
import os
import random
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MUTANTS = ROOT / "mutants"
KNOWN = ROOT / "docs" / "mutation.md"
FIRST = "flux.state.step_changes.x_cleared__mutmut_1"
"""A mutant that few tests run: with it mutmut makes all of them, and times the tests."""

CAUGHT, SURVIVED, NO_TESTS, REFUSED = 1, 0, 33, 37
"""How mutmut notes what a mutant has come to, the last by mypy; None if it was not tried."""

NOISE = {"unused-ignore", "ignore-without-code", "no-redef", "has-type"}
"""What mypy says of the way in which mutants are written down."""

OVERHEAD = 0.01
"""Seconds that any test takes beside its call."""

RECENT = 10
"""So many of the tests that caught others are run first."""


def main(environ: Mapping[str, str]) -> int:
    subprocess.run(["mutmut", "run", "--max-children", "1", FIRST], cwd=ROOT, check=True)
    verdicts = Verdicts()
    chosen = _chosen(
        verdicts.untried(environ.get("FLUX_MUTATION_MODULES", "").split()),
        int(environ.get("FLUX_MUTATION_SAMPLE", 0)),
        environ.get("FLUX_MUTATION_SEED", "0"),
    )
    refused = _refused(verdicts.modules()).intersection(chosen)
    for name in refused:
        verdicts.note(name, REFUSED)
    chosen = [name for name in chosen if name not in refused]
    if chosen:
        _try(verdicts, chosen, float(environ.get("FLUX_MUTATION_SECONDS", 0)) or float("inf"))
    verdicts.report()
    unexplained = [told for name in verdicts.survivors() if (told := _unexplained(name))]
    for told in unexplained:
        _say(told)
    return 1 if unexplained else 0


class Verdicts:
    """What the mutants have come to, where mutmut keeps it: `mutmut browse` shows it too."""

    def __init__(self) -> None:
        paths = sorted(MUTANTS.glob("flux/**/*.py.meta"))
        self._kept: dict[Path, dict[str, Any]] = {
            path: json.loads(path.read_text()) for path in paths
        }

    def untried(self, modules: Sequence[str]) -> dict[str, list[str]]:
        """By module, in the order asked for, the mutants to try, again if nothing explains them."""
        again = {name for name in self.survivors() if _unexplained(name)}
        found: dict[str, list[str]] = {module: [] for module in modules}
        for module, codes in self._codes():
            if module in found or not modules:
                found[module] = [n for n, code in codes.items() if code is None or n in again]
        return found

    def modules(self) -> list[str]:
        """The files, as paths below `mutants`."""
        made = (path for path, kept in self._kept.items() if kept["exit_code_by_key"])
        return [str(path.relative_to(MUTANTS)).removesuffix(".meta") for path in made]

    def note(self, name: str, code: int, seconds: float = 0.0) -> None:
        """Keep what a mutant has come to."""
        path = MUTANTS / f"{name.rpartition('.')[0].replace('.', '/')}.py.meta"
        kept = self._kept[path]
        kept["exit_code_by_key"][name] = code
        kept["durations_by_key"][name] = seconds
        path.write_text(json.dumps(kept, indent=4))

    def survivors(self) -> Iterator[str]:
        for _, codes in self._codes():
            yield from (name for name, code in codes.items() if code in (SURVIVED, NO_TESTS))

    def report(self) -> None:
        heads = "".join(f"{head:>10}" for head in ("made", "tried", "mypy", "tests", "survived"))
        _say(f"\n{'module':18}{heads}")
        for module, codes in self._codes():
            tried = [code for code in codes.values() if code is not None]
            refused = tried.count(REFUSED)
            survived = sum(code in (SURVIVED, NO_TESTS) for code in tried)
            caught = len(tried) - refused - survived
            counts = (len(codes), len(tried), refused, caught, survived)
            _say(f"{module:18}" + "".join(f"{count:10}" for count in counts))

    def _codes(self) -> Iterator[tuple[str, Mapping[str, int | None]]]:
        for path, kept in self._kept.items():
            if kept["exit_code_by_key"]:
                yield path.name.partition(".")[0], kept["exit_code_by_key"]


def _chosen(by_module: Mapping[str, list[str]], sample: int, seed: str) -> list[str]:
    """So many of each module, drawn by the seed; all of them if `sample` is 0."""
    chosen: list[str] = []
    for module, names in by_module.items():
        drawn = random.Random(f"{seed}:{module}").sample(sorted(names), min(sample, len(names)))
        chosen += drawn if sample else names
    return chosen


def _refused(modules: Sequence[str]) -> set[str]:
    """The mutants of these modules that mypy refuses."""
    command = ["mypy", "--output=json", *modules]
    told = subprocess.run(command, cwd=MUTANTS, text=True, stdout=subprocess.PIPE, check=False)
    found: set[str] = set()
    for module in modules:
        package = module.removesuffix(".py").replace("/", ".")
        spans = json.loads((MUTANTS / f"{module}.spans").read_text())["spans"]
        at = {line: name for name, (a, b) in spans.items() for line in range(a, b + 1)}
        errors = (json.loads(line) for line in told.stdout.splitlines())
        wrong = (e for e in errors if e["file"] == module and e["code"] not in NOISE)
        found |= {f"{package}.{at[error['line']]}" for error in wrong if error["line"] in at}
    # Where it refuses what is not changed, it says nothing of the changes.
    unsure = {name.removesuffix("orig") for name in found if name.endswith("__mutmut_orig")}
    return {name for name in found if f"{name.rpartition('__mutmut_')[0]}__mutmut_" not in unsure}


def _try(verdicts: Verdicts, names: Sequence[str], seconds: float) -> None:
    """Try these mutants, one after the other, for so long."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    arguments = config["pytest_add_cli_args"] + config["pytest_add_cli_args_test_selection"]
    os.chdir(MUTANTS)
    sys.path.insert(0, str(MUTANTS))
    with TemporaryDirectory() as folder:
        trials = Trials(verdicts, names, ends_at=time.monotonic() + seconds)
        ended = pytest.main(
            ["-q", "-s", "--rootdir=.", f"--basetemp={folder}/tests", *arguments], [trials]
        )
    os.chdir(ROOT)
    if ended is not pytest.ExitCode.OK:
        sys.exit(ended)


class Trials:
    """For pytest: runs what was collected for each mutant, in a fork, up to the first failure."""

    def __init__(self, verdicts: Verdicts, names: Sequence[str], *, ends_at: float) -> None:
        stats = json.loads((MUTANTS / "mutmut-stats.json").read_text())
        self._tests: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self._seconds: dict[str, float] = stats["duration_by_test"]
        self._worth: defaultdict[str, float] = defaultdict(float)
        for tests in self._tests.values():
            for test in tests:
                self._worth[test] += 1 / len(tests)
        self._verdicts, self._names, self._ends_at = verdicts, names, ends_at
        self._catchers: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:  # not all could be collected
            return None
        gc.freeze()
        every = {test for name in self._names for test in self._tests_of(name)}
        self._check(session, sorted(every, key=self._price))
        for count, name in enumerate(self._names):
            if time.monotonic() > self._ends_at:
                break
            if count % 100 == 0:
                _say(f"{count} of {len(self._names)}")
            self._try(session, name)
        return True

    def _check(self, session: pytest.Session, tests: Sequence[str]) -> None:
        """See that the tests pass without a mutant, each at the second try at the latest."""
        while (failed := self._fails(session, "", tests)) is not None:
            if self._fails(session, "", [failed]) is not None:
                raise pytest.UsageError(f"it fails without a mutant: {failed}")
            tests = tests[tests.index(failed) + 1 :]

    def _try(self, session: pytest.Session, name: str) -> None:
        tests, began = self._ordered(self._tests_of(name)), time.monotonic()
        caught_by = self._fails(session, name, tests) if tests else None
        seconds = time.monotonic() - began
        if caught_by is None:
            _say(f"survived: {name}")
        else:
            self._catchers.pop(caught_by, None)
            self._catchers[caught_by] = seconds
        code = NO_TESTS if not tests else SURVIVED if caught_by is None else CAUGHT
        self._verdicts.note(name, code, seconds)

    def _tests_of(self, name: str) -> list[str]:
        """The tests that come to the function of this mutant."""
        return self._tests.get(name.rpartition("__mutmut_")[0], [])

    def _ordered(self, tests: Sequence[str]) -> list[str]:
        """What caught others lately comes first, the quickest foremost.

        Then those that come to much that few others come to, for the time that they take.
        """
        known = set(tests)
        recent = [test for test in reversed(self._catchers) if test in known][:RECENT]
        recent.sort(key=self._catchers.__getitem__)
        return [*recent, *sorted(known.difference(recent), key=self._price)]

    def _price(self, test: str) -> float:
        return (self._seconds[test] + OVERHEAD) / self._worth[test]

    def _fails(self, session: pytest.Session, mutant: str, tests: Sequence[str]) -> str | None:
        """The first of the tests that fails; None if all pass."""
        sys.stdout.flush()
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.environ["MUTANT_UNDER_TEST"] = mutant
            try:
                self._run(session, tests, writes)
            finally:
                os._exit(CAUGHT)
        os.close(writes)
        with os.fdopen(reads) as pipe:
            begun = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        return begun[-1] if status else None

    def _run(self, session: pytest.Session, tests: Sequence[str], tell: int) -> None:
        """Run the tests in this process, telling of each; it ends well only if all pass."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        by_id = {item.nodeid: item for item in session.items}
        items = [by_id[test] for test in tests]
        for item, following in zip(items, [*items[1:], None], strict=False):
            os.write(tell, f"{item.nodeid}\n".encode())
            # An error raised in the middle of the test might be taken for one of a handler.
            item.add_marker(pytest.mark.timeout(0))
            faulthandler.dump_traceback_later(4 + 10 * self._seconds[item.nodeid], exit=True)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return
        os._exit(0)


def _unexplained(name: str) -> str:
    """What a survivor changes, if it is not listed with a reason; else nothing."""
    shown = subprocess.run(
        ["mutmut", "show", name], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    )
    lines = [line for line in shown.stdout.splitlines() if line[:3] not in ("---", "+++")]
    was, now = (_joined(lines, sign) for sign in "-+")
    if f"`{was}`: `{now}`" in KNOWN.read_text():
        return ""
    return f"\n{shown.stdout.strip()}\nno reason for it in docs/mutation.md: `{was}`: `{now}`"


def _joined(lines: Sequence[str], sign: str) -> str:
    return " ".join(line[1:].strip() for line in lines if line.startswith(sign))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(os.environ))
