"""A worker process of `flux demo --kill`: python -m flux.cli.demo.worker FOLDER ORDERS CONCURRENCY"""

import asyncio
import sys
from pathlib import Path

from flux.cli.demo.fulfil import fulfil
from flux.cli.demo.orders import read_orders
from flux.cli.demo.place import Place

if __name__ == "__main__":
    folder, count, concurrency = sys.argv[1:]
    orders = read_orders()[: int(count)]
    asyncio.run(fulfil(Place(Path(folder)), orders, concurrency=int(concurrency)))
