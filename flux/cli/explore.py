"""`flux explore`: a workflow that dies at every save, and what that changes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from flux.cli.app import AppError, load_named, workflows_in
from flux.definition.workflow import WorkflowDefinition
from flux.errors import FluxError, listing
from flux.testing.explorer import CrashReport, ScriptAction
from flux.testing.explorer import explore as explored
from flux.testing.explorer.script import script_of


class ExploringFailedError(click.ClickException):
    """The workflow could not be explored; ends the command with exit code 2."""

    exit_code = 2


class _App:
    """The workflows at a name, made anew for every process if that is a function."""

    def __init__(self, name: str) -> None:
        self.chosen: str | None = None
        self._name = name
        self._found = load_named(name)

    def __call__(self) -> Sequence[WorkflowDefinition]:
        """The workflows, that to be explored first."""
        workflows = workflows_in(self._found, self._name)
        names = dict.fromkeys(one.name for one in workflows)
        if self.chosen is None and len(names) > 1:
            raise click.UsageError(f"say with --workflow which one to explore: {listing(names)}")
        fitting = [one for one in workflows if self.chosen in (None, one.name)]
        if not fitting:
            there = listing(names)
            raise click.UsageError(f"there is no workflow {self.chosen!r}; there are: {there}")
        first = fitting[-1]  # of several versions of one name the last
        return [first, *(one for one in workflows if one is not first)]


def _app(context: click.Context, option: click.Parameter, name: str) -> _App:
    try:
        return _App(name)
    except AppError as error:
        raise click.BadParameter(str(error)) from error


def _named(context: click.Context, option: click.Parameter, name: str | None) -> Any:
    try:
        return None if name is None else load_named(name)
    except AppError as error:
        raise click.BadParameter(str(error)) from error


def _json(context: click.Context, option: click.Parameter, file: Path | None) -> Any:
    try:
        return None if file is None else orjson.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file}: {error}") from error


def _script(
    context: click.Context, option: click.Parameter, file: Path | None
) -> Sequence[ScriptAction]:
    try:
        return () if file is None else script_of(_json(context, option, file))
    except ValueError as error:
        raise click.BadParameter(f"{file}: {error}") from error


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("app", metavar="MODULE:NAME", callback=_app)
@click.option(
    "--input", type=_FILE, metavar="FILE", callback=_json, help="The input, JSON; by default {}."
)
@click.option("--workflow", metavar="NAME", help="Which of several workflows to explore.")
@click.option(
    "--effects",
    metavar="MODULE:NAME",
    callback=_named,
    help="The world that the steps act on: a list, a dict, or what has reset() and snapshot().",
)
@click.option(
    "--script",
    type=_FILE,
    metavar="FILE",
    callback=_script,
    help='What happens from outside, JSON: [{"signal": "paid"}, {"advance": 60}].',
)
@click.option("--ignore", metavar="PATTERN", multiple=True, help="Paths that may differ.")
@click.option("--only", metavar="SEED", multiple=True, help="Only this crash point, as 7:after.")
@click.option("--no-rollback", is_flag=True, help="Leave out the run that fails at its end.")
@click.option(
    "--limit", type=float, default=10, show_default=True, help="Seconds of real time for a run."
)
def explore(
    app: _App,
    input: Any,
    workflow: str | None,
    effects: Any,
    script: Sequence[ScriptAction],
    ignore: Sequence[str],
    only: Sequence[str],
    no_rollback: bool,
    limit: float,
) -> None:
    """Run the workflow at MODULE:NAME, and again for each way to die at each of its saves.

    Prints what such a crash changes: data, outputs, status, effects, and steps that run although
    they may not. Runs in the memory of this process, on a clock of its own; the handlers are really
    called. A function at MODULE:NAME is called for every process, so that what one keeps in memory
    is gone in the next. Ends with exit code 0 if no crash makes a difference, 1 if one does, 2 if
    it could not explore.
    """
    app.chosen = workflow
    try:
        report: CrashReport = asyncio.run(
            explored(
                app,
                input,
                effects=effects,
                script=script,
                ignore=ignore,
                only=only,
                rollback=not no_rollback,
                limit=limit,
            )
        )
    except click.ClickException:
        raise
    except (FluxError, AppError) as error:
        raise ExploringFailedError(str(error)) from error
    except Exception as error:  # of the app's own: its effects, the function that makes it
        raise ExploringFailedError(f"{type(error).__name__}: {error}") from error
    click.echo(str(report))
    if not report.ok:
        raise click.exceptions.Exit(1)
