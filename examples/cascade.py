"""What a second model says of each thing that the first has found.

    python examples/cascade.py examples/astronaut.png

cascade.toml looks for digits in faces, for that is what is installed; put your own classifier in.
"""

import sys
from pathlib import Path

import sanderling

if len(sys.argv) < 2:
    raise SystemExit(__doc__)
try:
    with sanderling.open(Path(__file__).with_name("cascade.toml")) as cascade:
        for result in cascade.watch(sys.argv[1]):
            found = result.detections
            for index in range(len(found.attributes)):
                said = found.attributes.row(index)
                best = f"{said.label(0)} {said.scores[0]:.2f}"
                print(f"{found.label(index)} {found.scores[index]:.2f}, most like a {best}")
except sanderling.InputError as wrong:  # its one line says what, where and what to do
    raise SystemExit(f"cascade.py: {wrong}") from None
