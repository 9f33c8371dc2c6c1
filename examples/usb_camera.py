"""The faces that a USB camera sees, ten times a second.

    python examples/usb_camera.py [CAMERA]

CAMERA is what `sanderling cameras` lists; without one, the first. Ctrl-C ends it.
"""

import sys
from pathlib import Path

import sanderling

camera = sys.argv[1] if len(sys.argv) > 1 else "0"
with sanderling.open(Path(__file__).with_name("faces.toml")) as faces:
    watch = faces.watch(camera, rate=10, on_event=lambda event: print(event.text, file=sys.stderr))
    try:
        for result in watch:
            found = result.detections
            boxes = [[round(float(value)) for value in box] for box in found.boxes]
            print(f"frame {result.sequence}: {len(found)} faces {boxes}")
    except KeyboardInterrupt:
        pass
    print(watch.counts)
