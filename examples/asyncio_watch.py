"""Results in an asyncio program: other tasks go on while it waits for the next one.

python examples/asyncio_watch.py 0
"""

import asyncio
import sys
from pathlib import Path

import sanderling


async def count(watch: sanderling.Watch) -> None:
    """Another task, which says once a second how far it is."""
    while True:
        await asyncio.sleep(1)
        print(f"so far {watch.counts.processed} frames")


async def main(source: str) -> None:
    """Count the faces, and let the other task go on meanwhile."""
    with sanderling.open(Path(__file__).with_name("faces.toml")) as faces:
        async with faces.watch(source) as watch, asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(count(watch))
            async for result in watch:
                print(f"frame {result.sequence}: {len(result.detections)} faces")
            counting.cancel()


if len(sys.argv) < 2:
    raise SystemExit(__doc__)
asyncio.run(main(sys.argv[1]))
