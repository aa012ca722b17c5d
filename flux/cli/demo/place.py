"""Where a demo keeps its databases."""

import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote

from flux.cli.demo.shop import Shop
from flux.frozen import frozen


@frozen
class Place:
    """The folder of one demo: the engine's database, the shop's, and a worker's messages."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> Self:
        """This folder, made if need be, or a new temporary one."""
        if folder is None:
            return cls(Path(tempfile.mkdtemp(prefix="flux-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder.resolve())

    @property
    def instances(self) -> Path:
        return self.folder / "flux.db"

    @property
    def shop_file(self) -> Path:
        return self.folder / "shop.db"

    @property
    def worker_log(self) -> Path:
        return self.folder / "worker.log"

    @property
    def url(self) -> str:
        """The engine's storage."""
        return f"sqlite:///{quote(str(self.instances))}"

    def shop(self) -> Shop:
        return Shop.open(self.shop_file)
