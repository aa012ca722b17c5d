"""Makes mutants of the modules that decide, and tells which of them no test notices.

`tox run -e mutation` runs it in the checkout; `[tool.mutmut]` in pyproject.toml has the modules and
the tests. It fails if a mutant survives that docs/mutation.md does not list. What to run is told by
the environment; without any of it, all mutants that have not been run yet are:

    FLUX_MUTATION_MODULES   the modules, as `plan waiting`
    FLUX_MUTATION_SAMPLE    so many mutants of each module, drawn by chance
    FLUX_MUTATION_SEED      what the draw begins with, 0 without it
    FLUX_MUTATION_SECONDS   stop after so long; the next run goes on from there
"""

import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
KNOWN = ROOT / "docs" / "mutation.md"
FIRST = "flux.state.step_changes.x_cleared__mutmut_1"
"""A mutant that few tests run: with it mutmut makes all of them, and times the tests."""

UNNOTICED = ("survived", "no tests")


def main(environ: Mapping[str, str]) -> int:
    _run([FIRST], seconds=None)
    chosen = _chosen(
        _open(_statuses(), environ.get("FLUX_MUTATION_MODULES", "").split()),
        int(environ.get("FLUX_MUTATION_SAMPLE", 0)),
        environ.get("FLUX_MUTATION_SEED", "0"),
    )
    if chosen:
        _run(chosen, seconds=float(environ.get("FLUX_MUTATION_SECONDS", 0)) or None)
    statuses = _statuses()
    _report(statuses)
    return _unknown(name for name, status in statuses.items() if status in UNNOTICED)


def _mutmut(*args: str) -> str:
    return subprocess.run(
        ["mutmut", *args], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def _run(names: Sequence[str], *, seconds: float | None) -> None:
    """Run these mutants, one after the other; mutmut keeps what each has come to."""
    with subprocess.Popen(["mutmut", "run", "--max-children", "1", *names], cwd=ROOT) as running:
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
    if running.returncode:
        sys.exit(running.returncode)


def _statuses() -> dict[str, str]:
    """What each mutant has come to, by its name."""
    lines = _mutmut("results", "--all", "True").splitlines()
    found = (line.strip().rpartition(": ") for line in lines)
    return {name: status for name, _, status in found}


def _module(name: str) -> str:
    return name.rpartition(".")[0].rpartition(".")[2]


def _open(statuses: Mapping[str, str], modules: Sequence[str]) -> dict[str, list[str]]:
    """By module, the mutants that have not been run."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, status in statuses.items():
        if status == "not checked" and (not modules or _module(name) in modules):
            found[_module(name)].append(name)
    return found


def _chosen(by_module: Mapping[str, list[str]], sample: int, seed: str) -> list[str]:
    """So many of each module, drawn by the seed; all of them if `sample` is 0."""
    chosen: list[str] = []
    for module, names in by_module.items():
        drawn = random.Random(f"{seed}:{module}").sample(sorted(names), len(names))
        chosen += drawn[: sample or None]
    return chosen


def _report(statuses: Mapping[str, str]) -> None:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, status in statuses.items():
        counts[_module(name)][status] += 1
    _say(f"\n{'module':18}{'made':>8}{'run':>8}{'caught':>8}{'survived':>10}")
    for module, count in sorted(counts.items()):
        made, survived = count.total(), sum(count[status] for status in UNNOTICED)
        run = made - count["not checked"]
        _say(f"{module:18}{made:8}{run:8}{run - survived:8}{survived:10}")


def _unknown(survivors: Iterable[str]) -> int:
    """Show the survivors that are not listed with a reason; 1 if there are any."""
    known, found = KNOWN.read_text(), 0
    for name in survivors:
        diff = _mutmut("show", name)
        lines = [line for line in diff.splitlines() if line[:3] not in ("---", "+++")]
        was, now = (_joined(lines, sign) for sign in "-+")
        if f"`{was}`: `{now}`" not in known:
            found = 1
            _say(f"\n{diff.strip()}\nno reason for it in docs/mutation.md: `{was}`: `{now}`")
    return found


def _joined(lines: Sequence[str], sign: str) -> str:
    return " ".join(line[1:].strip() for line in lines if line.startswith(sign))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(os.environ))
