"""Memory and start-up of the faces pipeline, against bare onnxruntime on the same model.

    python tests/benchmarks/bench_memory.py [--rounds 5] [--json PATH]

Each row is a fresh process: private memory after ten frames, and seconds from the start of Python
to the first result. `bare` loads the model with onnxruntime and runs zeros through it; it reads no
picture, resizes nothing and decodes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_REPORT = """
import pathlib, time, json
lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
fields = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
started = float(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / 100
print(json.dumps([int(fields["Anonymous"]) / 1024, first - started]))
"""
_CLOCK = "float(open('/proc/uptime').read().split()[0])"

_BARE = f"""
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.enable_cpu_mem_arena = ARENA
session = ort.InferenceSession("models/centerface-int8.onnx", options)
port = session.get_inputs()[0]
feed = {{port.name: np.zeros(port.shape, np.uint8)}}
session.run(None, feed)
first = {_CLOCK}
for _ in range(9):
    session.run(None, feed)
"""

_OURS = f"""
import sanderling
from sanderling import imaging
from pathlib import Path
with sanderling.open("examples/faces.toml", threads=1) as faces:
    image = imaging.read_image(Path("examples/astronaut.png"))
    faces(image)
    first = {_CLOCK}
    for _ in range(9):
        faces(image)
"""

CASES = {
    "sanderling, whole pipeline": _OURS + "\n    " + _REPORT.replace("\n", "\n    "),
    "bare onnxruntime": _BARE.replace("ARENA", "True") + _REPORT,
    "bare, without the arena": _BARE.replace("ARENA", "False") + _REPORT,
}


def main() -> None:
    """Run the cases in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: dict[str, list[list[float]]] = {name: [] for name in CASES}
    for _ in range(args.rounds):
        for name, code in CASES.items():
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
            )
            rows[name].append(json.loads(done.stdout))
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in rows.items()
    }
    peer = medians["bare onnxruntime"]
    print(f"{'':28} memory MiB  ratio   first result s  ratio")
    for name, (memory, seconds) in medians.items():
        print(
            f"{name:28} {memory:10.1f} {memory / peer[0]:6.2f}   {seconds:14.2f}"
            f" {seconds / peer[1]:6.2f}"
        )
    if args.json:
        args.json.write_text(json.dumps(medians, indent=2))


if __name__ == "__main__":
    main()
