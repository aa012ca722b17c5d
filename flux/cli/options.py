"""The options that several commands share: which storage, and which workflows."""

from collections.abc import Sequence

import click

from flux.cli.app import AppError, load_app
from flux.definition.workflow import WorkflowDefinition
from flux.errors import StorageError
from flux.storage import WorkflowStorage, open_storage


class StorageFailedError(click.ClickException):
    """The storage could not do it; ends the command with exit code 2."""

    exit_code = 2


def _storage(context: click.Context, option: click.Parameter, url: str) -> WorkflowStorage:
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


storage_option = click.option(
    "--storage",
    required=True,
    metavar="URL",
    callback=_storage,
    help="Where the instances are, such as sqlite:///orders.db or redis://localhost:6379/0.",
)
app_option = click.option(
    "--app",
    "workflows",
    required=True,
    metavar="MODULE:NAME",
    callback=_workflows,
    help="Where the workflows are: a Workflow, a list of them, or a function that returns either.",
)
