"""A release: built, deployed, watched for a while, and rolled back when it is not healthy.

    python examples/release.py

Ten steps, and three ways through them: a healthy version, one whose health check fails, and one
that cannot even be built. Rolling back is a way forward here: the instance completes, having done
what a failure asks for. Draw it with

    flux draw examples.release:release --output release.svg
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from flux import FluxEngine, Retry, Workflow, WorkflowContext

release = Workflow("release")

VERSIONS = {
    "1.0": "import sys\nsys.exit(0)\n",
    "1.1": "import sys\nsys.exit('the database has no table of that name')\n",
    "1.2": "import sys\nsys.exit(0\n",
}
"""The sources of a service that, when it is run, says whether it is healthy."""


@release.step
def create_record(ctx: WorkflowContext) -> str | None:
    """Its output is the version that runs so far."""
    record(ctx, "begun")
    current = folder(ctx) / "current"
    return current.read_text() if current.exists() else None


@release.step
def build(ctx: WorkflowContext) -> None:
    source = folder(ctx) / f"{ctx.input['version']}.py"
    compile(source.read_text(), source.name, "exec")
    source.with_suffix(".built").write_text(source.read_text())


@release.step
def deploy(ctx: WorkflowContext) -> None:
    (folder(ctx) / "current").write_text(ctx.input["version"])


release.sleep("wait", 0.2)  # let it come up; days would cost no more


@release.step(retries=Retry(2, initial=0.05, jitter=False))
def check(ctx: WorkflowContext) -> None:
    running = folder(ctx) / (folder(ctx) / "current").read_text()
    command = [sys.executable, f"{running}.built"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())


@release.commit
def update(ctx: WorkflowContext) -> None:
    record(ctx, "released")


@release.step
def notify_success(ctx: WorkflowContext) -> None:
    print(f"  mail: {ctx.input['version']} is out")


# When something fails. What comes after the failed step does not run; what is `after` these does.


@release.on_error(steps=("deploy", "wait", "check", "update"))
def roll_back(ctx: WorkflowContext) -> None:
    before = ctx.output("create_record")
    if before is None:
        (folder(ctx) / "current").unlink(missing_ok=True)
    else:
        (folder(ctx) / "current").write_text(before)


@release.on_error(steps="build", after="roll_back")  # after a failed build, or a roll-back
def clean_up(ctx: WorkflowContext) -> None:
    (folder(ctx) / f"{ctx.input['version']}.built").unlink(missing_ok=True)
    record(ctx, "failed")


@release.step(after="clean_up")
def notify_failure(ctx: WorkflowContext) -> None:
    print(f"  mail: {ctx.input['version']} is not out")


def folder(ctx: WorkflowContext) -> Path:
    return Path(ctx.input["folder"])


def record(ctx: WorkflowContext, status: str) -> None:
    (folder(ctx) / f"{ctx.input['version']}.json").write_text(json.dumps({"status": status}))


async def main(place: Path) -> None:
    async with FluxEngine(f"sqlite:///{place / 'flux.db'}", workflows=[release]) as flux:
        for version, source in VERSIONS.items():
            (place / f"{version}.py").write_text(source)
            print(f"release {version}")
            id = f"release-{version}"
            await flux.start(release, {"version": version, "folder": str(place)}, id=id)
            result = await flux.result(id)
            for step in result.history:
                handled = f", handled by {step.handled_by}" if step.handled_by else ""
                print(f"  {step.name}: {step.status}{handled}")
            print(f"  {result.status}; running now: {(place / 'current').read_text()}")
    show(place)


def show(place: Path) -> None:
    for path in sorted(place.glob("*.json")):
        print(path.stem, path.read_text())


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
