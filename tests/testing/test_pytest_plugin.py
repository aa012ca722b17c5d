"""The pytest plugin, in real runs of pytest."""

import subprocess
import sys
import tomllib
from collections.abc import Callable

import pytest

from checkout import ROOT
from flux import Workflow
from flux.testing import coverage
from flux.testing.coverage_report import coverage_report

pytest_plugins = ["pytester"]

FLOWS = """
from flux import Workflow

async def act(ctx): pass

order = Workflow("order")
order.step("reserve", act, compensate=act).commit("charge", act, compensate=act)
order.branch("route", on=lambda ctx: ctx.input["to"], cases={"NL": None, "FR": ("vat", act)},
             default=("ask", act))
other = Workflow("other").step("alone", act)
"""

TESTS = """
import asyncio
from flows import order

def test_order(flux_test_engine):
    async def run():
        async with flux_test_engine(order) as t:
            {mock}
            run = await t.run(order, {{"to": "NL"}}, id="order-1")
            run.status("{status}")
            assert run.data == {data}
    asyncio.run(run())
"""

PLUGINS = ("-p", "flux_pytest", "-p", "no:cacheprovider")

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs pytest, in a process of its own, on one test of a workflow."""

    def run(
        *options: str, mock: str = "pass", status: str = "completed", data: str = "{}"
    ) -> pytest.RunResult:
        pytester.makepyfile(
            flows=FLOWS, test_order=TESTS.format(mock=mock, status=status, data=data)
        )
        return pytester.runpytest_subprocess(
            "-p", "flux_pytest", "-p", "no:cacheprovider", *options
        )

    return run


def test_the_fixture_makes_engines(run: Run) -> None:
    """A test of a project without any asyncio plugin runs a workflow; nothing is reported."""
    result = run("-p", "no:asyncio")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*flux coverage*")


def test_a_failed_check_shows_the_history(run: Run) -> None:
    """The message comes with the table, and without the insides of Flux."""
    result = run(status="failed")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*expected: the status is 'failed'",
            "E*found: 'completed'",
            "E*order order-1 is completed",
        ]
    )
    result.stdout.no_fnmatch_line("*run.py*")


def test_a_failed_test_shows_its_runs(run: Run) -> None:
    """A failure of any kind comes with the histories of all runs."""
    result = run(data="{'a': 1}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*- Flux -*", "order order-1 is completed", "  reserve *completed*"]
    )


def test_what_no_test_ran_is_reported(run: Run) -> None:
    """Steps, compensators and cases that no test ran are listed by workflow."""
    result = run("--flux-cov")
    result.assert_outcomes(passed=1)
    assert report_of(result) == [
        "workflow  steps   compensators  cases   covered",
        "order     3 of 5  0 of 2        1 of 3  40 %",
        "all                                     40 %",
        "order: no test ran",
        "  step vat",
        "  step ask",
        "  compensator of reserve",
        "  compensator of charge",
        '  case route: "FR"',
        "  case route: default",
    ]


def test_mocks_are_told_apart(run: Run) -> None:
    """What only mocks ran for counts, and is listed."""
    mock = 't.mock("reserve"); t.fail("charge", ValueError("declined"))'
    result = run("--flux-cov", mock=mock, status="rolled_back")
    result.assert_outcomes(passed=1)
    assert report_of(result)[1] == "order     2 of 5  1 of 2        0 of 3  30 %"
    assert report_of(result)[-3:] == [
        "order: only mocks ran for",
        "  step reserve",
        "  step charge",
    ]


def test_a_workflow_that_no_test_ran_is_reported(run: Run) -> None:
    """A workflow that is asked for is reported on, though no test knows it."""
    result = run("--flux-cov-of", "flows")
    assert report_of(result)[2] == "other     0 of 1  -             -       0 %"
    result = run("--flux-cov-of", "flows:order", "-k", "nothing")
    assert report_of(result)[1] == "order     0 of 5  0 of 2        0 of 3  0 %"


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("nowhere", "No module named 'nowhere'"),
        ("flows:nothing", "there is no workflow"),
        ("", "Empty module name"),
    ],
)
def test_what_is_not_there_is_refused(run: Run, named: str, why: str) -> None:
    """A workflow that cannot be found is an error of usage."""
    result = run("--flux-cov-of", named)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--flux-cov-of={named}: {why}"])


@pytest.mark.parametrize(("percent", "code"), [("40", 0), ("41", 1)])
def test_too_little_fails(run: Run, percent: str, code: int) -> None:
    """The session fails if less ran than was asked for."""
    result = run(f"--flux-cov-fail-under={percent}")
    assert result.ret == code
    told = [line for line in result.outlines if line.startswith("FAIL")]
    expected = f"FAIL: 40 % is less than the {percent} % of --flux-cov-fail-under"
    assert told == [expected] * code


def test_settings_are_read(run: Run, pytester: pytest.Pytester) -> None:
    """What the command line can say, the settings of the project can."""
    pytester.makeini(
        "[pytest]\nflux_cov = true\nflux_cov_of = flows:other\nflux_cov_fail_under = 99\n"
    )
    result = run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report_of(result)[2] == "other     0 of 1  -             -       0 %"


def test_nothing_of_flux_is_imported_unused(pytester: pytest.Pytester) -> None:
    """People who run other tests do not pay for Flux."""
    pytester.makepyfile(
        """
        import sys

        def test_lean():
            assert "flux_pytest" in sys.modules
            assert [name for name in sys.modules if name.split(".")[0] == "flux"] == []
        """
    )
    result = pytester.runpytest_subprocess(*PLUGINS)
    result.assert_outcomes(passed=1)


def test_processes_are_added_up(run: Run, pytester: pytest.Pytester) -> None:
    """What processes of their own have collected counts together, as with pytest-xdist."""
    pytester.makeconftest(
        """
        import types

        def pytest_sessionfinish(session):
            ran = {"parts": {"step": ["alone"], "compensator": [], "case": []},
                   "ran": {"step": ["alone"], "compensator": [], "case": []},
                   "stood_in": {"step": [], "compensator": [], "case": []}}
            node = types.SimpleNamespace(workeroutput={"flux_cov": {"other": ran}})
            session.config.pluginmanager.get_plugin("flux-cov").pytest_testnodedown(node)
        """
    )
    assert report_of(run("--flux-cov"))[2] == "other     1 of 1  -             -       100 %"


def test_pytest_finds_the_plugin() -> None:
    """The entry point names the module, under its own name: `-p flux_pytest` is the same plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"flux_pytest": "flux_pytest"}
    found = subprocess.run(
        [sys.executable, "-c", "import flux_pytest"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


def report_of(result: pytest.RunResult) -> list[str]:
    """The lines of the report."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if "= flux coverage =" in line) + 1
    end = next(i for i, line in enumerate(lines) if i >= start and line.startswith("="))
    return [line for line in lines[start:end] if line]


def test_nearly_all_is_not_all() -> None:
    """A percentage is rounded down: 100 % says that nothing is missing."""
    flow = Workflow("order")
    for number in range(300):
        flow.step(f"step-{number}", lambda ctx: None)
    collected = coverage.start()
    coverage.stop(collected)
    collected.note(flow.build())
    (order,) = collected.workflows
    order.ran["step"].update(order.parts["step"][1:])
    assert coverage_report(collected)[1:3] == [
        "order     299 of 300  -             -      99 %",
        "all                                        99 %",
    ]


def test_a_setting_that_is_no_number(run: Run) -> None:
    """A percentage that is none is an error of use, and no breakdown of pytest."""
    result = run("-o", "flux_cov_fail_under=much")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*flux_cov_fail_under=much: give a number of percent*"])
