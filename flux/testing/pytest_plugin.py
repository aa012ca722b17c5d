"""What the pytest plugin does once it was asked to report; `flux_pytest` is the rest of it."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from flux.definition.builder import Workflow
from flux.definition.workflow import WorkflowDefinition
from flux.testing import coverage
from flux.testing.coverage import Coverage
from flux.testing.coverage_report import coverage_report, shown_percent

_SENT = "flux_cov"
"""Under this name a process of pytest-xdist sends what it has collected."""


class CoveragePlugin:
    """Collects over a session of tests what ran, and reports it at its end."""

    def __init__(self, workflows: Sequence[str], fail_under: float | None) -> None:
        self._named = workflows
        self._fail_under = fail_under
        self._coverage = Coverage()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._coverage = coverage.start()
        for named in self._named:
            for definition in _found(named):
                self._coverage.note(definition)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._coverage.take(getattr(node, "workeroutput", {}).get(_SENT, {}))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        coverage.stop(self._coverage)
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_SENT] = self._coverage.plain()
        elif self._falls_short and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("flux coverage")
        for line in coverage_report(self._coverage):
            terminalreporter.line(line)
        if self._falls_short:
            terminalreporter.line(
                f"FAIL: {shown_percent(self._coverage.percent)} is less than the "
                f"{self._fail_under:g} % of --flux-cov-fail-under",
                red=True,
                bold=True,
            )

    @property
    def _falls_short(self) -> bool:
        return self._fail_under is not None and self._coverage.percent < self._fail_under


def _found(named: str) -> Iterator[WorkflowDefinition]:
    """The workflows of `MODULE`, or the one of `MODULE:NAME`; or `UsageError`."""
    module, _, name = named.partition(":")
    try:
        within = vars(importlib.import_module(module))
    except (ImportError, ValueError) as error:
        raise pytest.UsageError(f"--flux-cov-of={named}: {error}") from error
    values = [within.get(name)] if name else list(within.values())
    workflows = [value for value in values if isinstance(value, Workflow | WorkflowDefinition)]
    if not workflows:
        raise pytest.UsageError(f"--flux-cov-of={named}: there is no workflow")
    for workflow in workflows:
        yield workflow.build() if isinstance(workflow, Workflow) else workflow
