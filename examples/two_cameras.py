"""Two cameras, one model: they take turns, and neither keeps the other waiting.

    python examples/two_cameras.py 0 rtsp://192.0.2.7/stream

The same as a daemon's configuration is two_cameras.toml.
"""

import sys
import threading
from pathlib import Path

import sanderling


def follow(name: str, watch: sanderling.Watch) -> None:
    """Print what one camera sees."""
    for result in watch:
        print(f"{name}: frame {result.sequence}: {len(result.detections)} faces")
    print(f"{name}: {watch.counts}")


if len(sys.argv) < 3:
    raise SystemExit(__doc__)
with sanderling.open(Path(__file__).with_name("faces.toml"), mode="throughput") as faces:
    watches = [(source, faces.watch(source, rate=10)) for source in sys.argv[1:3]]
    threads = [threading.Thread(target=follow, args=watch) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
