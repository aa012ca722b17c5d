"""The part of Flux's pytest plugin that every run of pytest loads, used or not.

It is installed beside the package, since whatever is in the package imports the whole of Flux:
people who run other tests would pay for that, and Flux would be there before coverage.py begins to
measure.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flux.testing import TestEngine

_opened = pytest.StashKey["list[TestEngine]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flux", "workflows of Flux")
    told = "report which steps, compensators and cases of branches no test ran"
    group.addoption("--flux-cov", action="store_true", help=told)
    parser.addini("flux_cov", told, type="bool", default=False)
    told = "workflows to report on though no test may run them; implies --flux-cov"
    group.addoption(
        "--flux-cov-of", action="append", default=[], metavar="MODULE[:NAME]", help=told
    )
    parser.addini("flux_cov_of", told, type="linelist", default=[])
    told = "fail if less than so many percent of them ran; implies --flux-cov"
    group.addoption("--flux-cov-fail-under", type=float, metavar="PERCENT", help=told)
    parser.addini("flux_cov_fail_under", told)


def pytest_configure(config: pytest.Config) -> None:
    workflows = [*config.getini("flux_cov_of"), *config.getoption("flux_cov_of")]
    fail_under = config.getoption("flux_cov_fail_under")
    if fail_under is None and config.getini("flux_cov_fail_under"):
        fail_under = _percent(config.getini("flux_cov_fail_under"))
    is_on = config.getoption("flux_cov") or config.getini("flux_cov")
    if is_on or workflows or fail_under is not None:
        from flux.testing.pytest_plugin import CoveragePlugin

        config.pluginmanager.register(CoveragePlugin(workflows, fail_under), "flux-cov")


def _percent(told: str) -> float:
    try:
        return float(told)
    except ValueError as error:
        raise pytest.UsageError(f"flux_cov_fail_under={told}: give a number of percent") from error


@pytest.fixture
def flux_test_engine(request: pytest.FixtureRequest) -> Callable[..., TestEngine]:
    """Makes a `flux.testing.TestEngine`: `async with flux_test_engine(order) as t:`.

    It takes what the class takes. When the test fails, the histories of all runs are shown with it.
    No asyncio plugin is needed for the fixture itself, only one for the test.
    """
    from flux.testing import TestEngine

    opened = request.node.stash.setdefault(_opened, [])

    def make(*given: object, **named: object) -> TestEngine:
        engine = TestEngine(*given, **named)  # type: ignore[arg-type]
        opened.append(engine)
        return engine

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for engine in item.stash.get(_opened, ()):
            report.sections.extend(("Flux", str(run)) for run in engine.runs)
    return report
