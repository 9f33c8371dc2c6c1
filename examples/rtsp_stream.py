"""A line whenever a network camera sees more or fewer faces than before.

    python examples/rtsp_stream.py rtsp://user:password@192.0.2.7/stream

A stream that is lost is opened again, for ever; Ctrl-C ends it.
"""

import sys
import time
from pathlib import Path

import sanderling

if len(sys.argv) < 2:
    raise SystemExit(__doc__)
faces_before = 0
with sanderling.open(Path(__file__).with_name("faces.toml")) as faces:
    watch = faces.watch(sys.argv[1], on_event=lambda event: print(event.text, file=sys.stderr))
    try:
        for result in watch:
            if len(result.detections) != faces_before:
                faces_before = len(result.detections)
                at = time.strftime("%H:%M:%S", time.localtime(result.wall_ns / 1e9))
                print(f"{at}: {faces_before} faces", flush=True)
    except KeyboardInterrupt:
        pass
