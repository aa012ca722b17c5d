"""A worker process of `flux demo --kill`.

python -m flux.cli.demo.worker FOLDER ORDERS CONCURRENCY
"""

import asyncio
import sys
from pathlib import Path

from flux import FluxConfig
from flux.cli.demo.fulfil import fulfil
from flux.cli.demo.orders import read_orders
from flux.cli.demo.place import Place

LEASE = 2.0
"""Seconds until the next worker may take over what a killed one held."""

if __name__ == "__main__":
    folder, count, concurrency = sys.argv[1:]
    orders = read_orders()[: int(count)]
    work = fulfil(
        Place(Path(folder)),
        orders,
        concurrency=int(concurrency),
        config=FluxConfig(lease=LEASE),
    )
    asyncio.run(work)
