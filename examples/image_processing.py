"""Image processing: go on after a crash where it stopped; delete the files when a step fails.

    python examples/image_processing.py

Two branches, one that shrinks and one that marks the picture, meet in the step that publishes.
The first run dies half-way, as if the power had failed; the second one finds it and finishes it.
"""

import asyncio
import hashlib
import os
import sys
from asyncio.subprocess import create_subprocess_exec
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw

from flux import CompensationContext, FluxConfig, FluxEngine, FluxResult, Workflow, WorkflowContext

gallery = Workflow("gallery")


@gallery.step
def load(ctx: WorkflowContext) -> int:
    log(ctx)
    with Image.open(ctx.input["picture"]) as picture:
        picture.verify()
        return picture.width


@gallery.step(after="load", timeout=10)
def shrink(ctx: WorkflowContext) -> None:
    log(ctx)
    with Image.open(ctx.input["picture"]) as picture:
        picture.reduce(ctx.output("load") // 128).save(target(ctx, "thumbnail"))


@shrink.compensate
def delete_thumbnail(ctx: CompensationContext) -> None:
    target(ctx, "thumbnail").unlink(missing_ok=True)


@gallery.step(after="load", timeout=10)
def mark(ctx: WorkflowContext) -> None:
    log(ctx)
    if os.environ.get("POWER_FAILS"):
        os._exit(1)
    with Image.open(ctx.input["picture"]) as picture:
        grey = picture.convert("L")
    ImageDraw.Draw(grey).rectangle((8, 8, 72, 24), fill=255, outline=0)
    grey.save(target(ctx, "grey"))


@mark.compensate
def delete_marked(ctx: CompensationContext) -> None:
    target(ctx, "grey").unlink(missing_ok=True)


@gallery.step(after=("shrink", "mark"))
def publish(ctx: WorkflowContext) -> str:
    log(ctx)
    with Image.open(target(ctx, "grey")) as grey:
        checksum = hashlib.sha256(grey.tobytes()).hexdigest()
    entry = Path(ctx.input["folder"], f"{checksum}.published")
    if entry.exists() and entry.read_text() != ctx.id:
        raise FileExistsError(f"{ctx.id} shows the same as {entry.read_text()}")
    entry.write_text(ctx.id)
    return checksum


def target(ctx: WorkflowContext, kind: str) -> Path:
    return Path(ctx.input["folder"], f"{ctx.id}-{kind}.png")


def log(ctx: WorkflowContext) -> None:
    print(f"  {ctx.step}, attempt {ctx.attempt}", flush=True)


async def process(folder: Path, name: str) -> FluxResult:
    # A crashed process keeps an instance for the length of its lease. One step at a time, so that
    # what is printed is the same every time.
    config = FluxConfig(lease=1, max_parallel_steps=1)
    wanted = {"folder": str(folder), "picture": str(folder / f"{name}.png")}
    async with FluxEngine(f"sqlite:///{folder / 'flux.db'}", config=config) as flux:
        return await flux.execute(gallery, wanted, id=name)


async def main(folder: Path) -> None:
    sunset = Image.linear_gradient("L").resize((512, 384), Image.Resampling.NEAREST)
    for name in ("sunset", "copy"):
        Image.merge("RGB", (sunset, sunset.rotate(180), sunset)).save(folder / f"{name}.png")

    print("sunset, in a process that dies", flush=True)
    power_fails = {**os.environ, "POWER_FAILS": "1"}
    crash = await create_subprocess_exec(sys.executable, __file__, str(folder), env=power_fails)
    await crash.wait()
    print("sunset, in the next one")
    result = await process(folder, "sunset")
    print(f"{result.status}: {files(folder)}")

    print("copy")
    result = await process(folder, "copy")
    print(f"{result.status}, {result.error}: {files(folder)}")


def files(folder: Path) -> str:
    made = sorted(path for path in folder.glob("*-*.png"))
    return ", ".join(f"{path.name} {'x'.join(map(str, Image.open(path).size))}" for path in made)


if __name__ == "__main__":
    if os.environ.get("POWER_FAILS"):
        asyncio.run(process(Path(sys.argv[1]), "sunset"))
    else:
        with TemporaryDirectory() as name:
            asyncio.run(main(Path(name)))
