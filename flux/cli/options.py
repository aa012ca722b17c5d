"""The options that several commands share: which storage, and which workflows."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from flux.cli.app import AppError, load_app
from flux.definition.workflow import WorkflowDefinition
from flux.errors import StorageError
from flux.storage import WorkflowStorage, open_storage


class StorageFailedError(click.ClickException):
    """The storage could not do it; ends the command with exit code 2."""

    exit_code = 2


def _storage(
    context: click.Context, option: click.Parameter, url: str | None
) -> WorkflowStorage | None:
    if url is None:  # where it need not be given
        return None
    if url.startswith("memory:"):
        raise click.BadParameter("memory: is seen by no other process; give that of the app")
    try:
        return open_storage(url)
    except StorageError as error:
        raise click.BadParameter(str(error)) from error


def _workflows(
    context: click.Context, option: click.Parameter, name: str
) -> Sequence[WorkflowDefinition]:
    try:
        return load_app(name)
    except AppError as error:
        raise click.BadParameter(str(error)) from error


def _apps(
    context: click.Context, option: click.Parameter, names: Sequence[str]
) -> Sequence[WorkflowDefinition]:
    return [workflow for name in names for workflow in _workflows(context, option, name)]


def _storage_option(*, required: bool) -> Callable[[Any], Any]:
    return click.option(
        "--storage",
        required=required,
        metavar="URL",
        callback=_storage,
        help="Where the instances are, such as sqlite:///orders.db or redis://localhost:6379/0.",
    )


storage_option = _storage_option(required=True)
optional_storage_option = _storage_option(required=False)
apps_argument = click.argument(
    "workflows", metavar="[MODULE:NAME]...", nargs=-1, required=False, callback=_apps
)
app_option = click.option(
    "--app",
    "workflows",
    required=True,
    metavar="MODULE:NAME",
    callback=_workflows,
    help="Where the workflows are: a Workflow, a list of them, or a function that returns either.",
)
