"""DOT as SVG or PNG, made by a program on this machine, without a network."""

import os
import shutil
import subprocess
import sysconfig
from typing import Literal

ImageFormat = Literal["svg", "png"]

PROGRAMS = ("graphviz-pure", "dot")
"""The one that comes with the extra, and that of Graphviz."""


class RenderingError(RuntimeError):
    """There is no program that makes images, or it could not; the message says why."""


def rendered(dot: str, format: ImageFormat, *, path: str | None = None) -> bytes:
    """The image as a file's content, or `RenderingError`.

    Programs are looked for beside this Python's own, then on the PATH, or in `path` alone.
    """
    program = _program(_default_path() if path is None else path)
    try:
        ran = subprocess.run(
            [program, f"-T{format}"], input=dot.encode(), capture_output=True, check=False
        )
    except OSError as error:
        raise RenderingError(f"{program} does not run: {error}") from error
    if ran.returncode or not ran.stdout:
        said = ran.stderr.decode(errors="replace").strip() or f"exit code {ran.returncode}"
        raise RenderingError(f"{program} failed: {said}")
    return ran.stdout


def _program(path: str) -> str:
    found = (shutil.which(name, path=path) for name in PROGRAMS)
    program = next(filter(None, found), None)
    if program is None:
        raise RenderingError(
            "SVG and PNG need the package graphviz-pure; run: pip install 'flux-saga[draw]'"
        )
    return program


def _default_path() -> str:
    return os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
