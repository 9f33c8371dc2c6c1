"""A table of all pictures in a folder, with how many faces are in each.

    python examples/folder.py FOLDER > faces.csv

Pictures that cannot be read are named on stderr.
"""

import csv
import sys
from pathlib import Path

import sanderling

rows = csv.writer(sys.stdout)
rows.writerow(["picture", "faces", "best score"])
with sanderling.open(Path(__file__).with_name("faces.toml"), mode="throughput") as faces:
    for result in faces.watch(sys.argv[1], on_lost=lambda _, why: print(why, file=sys.stderr)):
        best = max(result.detections.scores, default=0.0)
        rows.writerow([Path(result.source).name, len(result.detections), f"{best:.2f}"])
