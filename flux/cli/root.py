"""The group that all commands belong to."""

import click

from flux.cli.demo.command import demo
from flux.cli.diff import diff
from flux.cli.draw import draw
from flux.cli.explore import explore
from flux.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flux-saga", message="flux-saga %(version)s")
def root() -> None:
    """Flux runs business transactions as saved steps, and undoes them when they fail."""


root.add_command(demo)
root.add_command(diff)
root.add_command(draw)
root.add_command(explore)
root.add_command(worker)
