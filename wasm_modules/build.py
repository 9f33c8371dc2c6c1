"""Build the guests: C to WebAssembly, with the manifest in it, the same bytes on every machine.

    python wasm_modules/build.py                 build all into wasm_modules/dist
    python wasm_modules/build.py nms softmax     only these
    python wasm_modules/build.py --check         rebuild into a temporary folder and compare

The compiler is clang as the PyPI package `ziglang` brings it, pinned in constraints.txt: one
version, one output. Nothing of the machine (paths, time, locale) reaches the result.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from sanderling import manifest

HERE = Path(__file__).resolve().parent

FLAGS = [
    "--target=wasm32-freestanding",
    "-mcpu=generic+simd128+bulk_memory",
    "-std=c11",
    "-O3",
    "-ffreestanding",
    "-fno-exceptions",
    "-nostdlib",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Iinclude",
    "-s",
    "-Wl,--no-entry",
    "-Wl,-z,stack-size=65536",
]


def build(name: str, target: Path) -> Path:
    """Compile one guest and put its manifest in.

    Args:
        name: its folder under wasm_modules, with NAME.c and module.toml.
        target: the folder for NAME.wasm.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    raw = target / f"{name}.raw.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, f"{name}/{name}.c", "-o", str(raw)]
    subprocess.run(command, cwd=HERE, check=True)
    toml = HERE / name / "module.toml"
    read = manifest.parse_toml(toml.read_text(), str(toml))
    out = target / f"{name}.wasm"
    out.write_bytes(manifest.pack(raw.read_bytes(), read, str(raw)))
    raw.unlink()
    return out


def names() -> list[str]:
    """The guests that have a folder here."""
    return sorted(path.parent.name for path in HERE.glob("*/module.toml"))


def check(wanted: list[str]) -> int:
    """Rebuild elsewhere and compare with what is in the repository; the number that differ."""
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            made = build(name, Path(folder)).read_bytes()
            kept = (HERE / "dist" / f"{name}.wasm").read_bytes()
            same = made == kept
            differ += not same
            digest = hashlib.sha256(made).hexdigest()[:16]
            print(f"{name:20} {digest} {'identical' if same else 'DIFFERS: run make wasm'}")
    return differ


def main() -> int:
    """Build or check what the command line names."""
    parser = argparse.ArgumentParser(description="Build the guests.")
    parser.add_argument("name", nargs="*", help="a guest's folder; all without one")
    parser.add_argument("--check", action="store_true", help="rebuild and compare, write nothing")
    args = parser.parse_args()
    wanted = args.name or names()
    if args.check:
        return 1 if check(wanted) else 0
    (HERE / "dist").mkdir(exist_ok=True)
    for name in wanted:
        out = build(name, HERE / "dist")
        print(f"{out.name:24} {out.stat().st_size:7} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
