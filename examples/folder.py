"""A table of all pictures in a folder, with how many faces are in each.

    python examples/folder.py FOLDER > faces.csv

Pictures that cannot be read are named on stderr.
"""

import csv
import sys
from pathlib import Path

import sanderling

if len(sys.argv) < 2:
    raise SystemExit(__doc__)
rows = csv.writer(sys.stdout)
try:
    with sanderling.open(Path(__file__).with_name("faces.toml"), mode="throughput") as faces:
        watch = faces.watch(sys.argv[1], on_lost=lambda _, why: print(why, file=sys.stderr))
        rows.writerow(["picture", "faces", "best score"])
        for result in watch:
            best = max(result.detections.scores, default=0.0)
            rows.writerow([Path(result.source).name, len(result.detections), f"{best:.2f}"])
except sanderling.InputError as wrong:  # its one line says what, where and what to do
    raise SystemExit(f"folder.py: {wrong}") from None
