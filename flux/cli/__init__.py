"""The command line: `flux`."""

import sys


def main() -> None:
    """Run the command that the command line names; the entry point of the `flux` script."""
    try:
        from flux.cli.root import root
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        sys.exit(f"flux: its commands need {missing.name}; run: pip install 'flux-saga[cli]'")
    root(prog_name="flux")
