"""Run the host's tests as 64-bit Arm: under emulation on an x86 machine, directly on an Arm one.

    .venv/bin/python tests/arm64/run.py [pytest's arguments]

Once as a Raspberry Pi 4 (Cortex-A72, without dot products) and once as a Pi 5 (Cortex-A76, with),
at the same time. A Debian root with Python and the wheels for Arm are set up once, under
.cache/arm64. Nothing is installed or mounted outside: emulation is registered in namespaces of its
own. Times measured here say nothing about a Pi.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "arm64"
DEBIAN = CACHE / "root"
SITE = CACHE / "site"
EXPECTED = CACHE / "expected.npz"

LONGEST_S = 2700
"""A run that takes longer hangs: a quarter of an hour is usual."""

SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = "python3-minimal,libpython3-stdlib,libstdc++6,libgcc-s1,libgomp1,zlib1g,libexpat1"
# Emulated system calls look for absolute paths in the Debian root first: these must be the host's.
HOSTS_OWN = ("dev", "proc", "run", "sys", "tmp", "var")

# What /proc/cpuinfo says on the board: without it onnxruntime mistakes the processor.
PROCESSORS = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": (
        "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop"
        " asimddp",
    ),
}

# An ELF file for little-endian aarch64, whatever its ABI, executable or shared: Debian's handler.
MAGIC = bytes.fromhex("7f454c460201010000000000000000000200b700")
MASK = bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff")

# Runs in new user and mount namespaces; "$@" is what to run there. Where the kernel is too old to
# give a namespace its own handlers (before 6.7), the host's must have been registered.
INSIDE = r"""
set -eu
if mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null; then
    printf '%b' "$HANDLER" >/proc/sys/fs/binfmt_misc/register
fi
mount --bind "$CPUINFO" /proc/cpuinfo
PATH=$INNER_PATH exec "$@"
"""


def main() -> int:
    """Set up what is missing, run the tests, and return the exit code."""
    arguments = sys.argv[1:]
    if platform.machine() == "aarch64":
        command = [sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    obstacle = check()
    if obstacle:
        print(f"test-arm64: {obstacle}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    CACHE.mkdir(parents=True, exist_ok=True)
    stamped("root", SUITE + PACKAGES, make_root)
    wheels = requirements()
    stamped("site", PYTHON + "".join(wheels) + (ROOT / "constraints.txt").read_text(), make_site)
    run([sys.executable, str(ROOT / "tests" / "arm64" / "outputs.py"), str(EXPECTED)])
    with ThreadPoolExecutor() as pool:
        passed = list(pool.map(lambda cpu: test(cpu, arguments), PROCESSORS))
    return 0 if all(passed) else 1


def check() -> str | None:
    """Why this machine cannot do it, if it cannot."""
    needed = {"qemu-aarch64-static": "qemu-user-static", "mmdebstrap": "mmdebstrap"}
    lacking = [package for command, package in needed.items() if shutil.which(command) is None]
    if lacking:
        return f"this needs emulation: apt-get install {' '.join(lacking)}"
    code, said = inside("cortex-a72", "/bin/true")
    if code != 0:
        return f"this needs user namespaces, which are off here: {said.strip()}"
    return None


def stamped(name: str, made_of: str, make: Callable[[Path], None]) -> None:
    """Make a folder of the cache, unless it is there and made of the same."""
    digest = hashlib.sha256(made_of.encode()).hexdigest()
    stamp = CACHE / f"{name}.sha256"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    began = monotonic()
    stamp.unlink(missing_ok=True)
    shutil.rmtree(CACHE / name, ignore_errors=True)
    make(CACHE / name)
    stamp.write_text(digest)
    print(f"test-arm64: made {CACHE / name} in {monotonic() - began:.0f} s", flush=True)


def make_root(target: Path) -> None:
    """Debian's Python for Arm. By way of an archive, so that no file belongs to somebody else."""
    archive = target.with_suffix(".tar")
    command = ["mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64"]
    run([*command, f"--include={PACKAGES}", SUITE, str(archive)])
    target.mkdir()
    left_out = [f"--exclude=./{name}" for name in HOSTS_OWN]
    run(["tar", "-xf", str(archive), "-C", str(target), "--no-same-owner", *left_out])
    archive.unlink()


def make_site(target: Path) -> None:
    """The wheels for Arm of what the tests need."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command += ["--no-warn-conflicts"]  # with this environment, which is another
    command += ["--constraint", str(ROOT / "constraints.txt"), "--only-binary", ":all:"]
    command += ["--python-version", PYTHON, "--target", str(target)]
    for glibc in range(17, 37):  # 2.36 is bookworm's
        command += ["--platform", f"manylinux_2_{glibc}_aarch64"]
    run([*command, "--platform", "manylinux2014_aarch64", *requirements()])


def requirements() -> list[str]:
    """What the package, its off-device part and its tests need, as pyproject.toml has it."""
    text = (ROOT / "pyproject.toml").read_text()
    read = tomllib.loads(text)
    project = read["project"]
    return [
        *project["dependencies"],
        *project["optional-dependencies"]["quantize"],
        *read["dependency-groups"]["test"],
    ]


def run(command: list[str]) -> None:
    """Run a command of the set-up; where it fails, say which and stop."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"test-arm64: failed with exit code {done.returncode}: {command[:6]} ...")


def inside(cpu: str, *command: str) -> tuple[int | None, str]:
    """Run a command where 64-bit Arm programs run as this processor.

    Returns:
        Its exit code, None when it was stopped for taking too long, and what it said.
    """
    part, features = PROCESSORS[cpu]
    core = f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
    core += f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
    CACHE.mkdir(parents=True, exist_ok=True)
    info = CACHE / f"{cpu}.cpuinfo"
    info.write_text("\n".join(f"processor\t: {index}\n{core}" for index in range(4)) + "\n")
    escaped = ["".join(f"\\x{byte:02x}" for byte in raw) for raw in (MAGIC, MASK)]
    interpreter = shutil.which("qemu-aarch64-static")
    environment = {
        "CPUINFO": str(info),
        # F: the interpreter is opened now, so that it is found from wherever a child is started.
        "HANDLER": f":sanderling:M::{escaped[0]}:{escaped[1]}:{interpreter}:F",
        "HOME": str(CACHE),
        "LANG": "C.UTF-8",
        "INNER_PATH": str(DEBIAN / "usr/bin"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{SITE}:{ROOT / 'runtime'}",
        "PYTHONPYCACHEPREFIX": str(CACHE / "pycache"),
        "QEMU_CPU": cpu,
        "QEMU_LD_PREFIX": str(DEBIAN),
        "SANDERLING_EMULATED": cpu,
        "SANDERLING_EXPECTED": str(EXPECTED),
    }
    if "CI" in os.environ:
        environment["CI"] = os.environ["CI"]
    # Into a file, to be looked at meanwhile.
    log = CACHE / f"{cpu}.log"
    with log.open("w") as output:
        try:
            code: int | None = subprocess.run(
                ["unshare", "-Urm", "--fork", "--kill-child", "sh", "-c", INSIDE, "sh", *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LONGEST_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    return code, log.read_text(errors="replace")


def test(cpu: str, arguments: list[str]) -> bool:
    """Run the tests as this processor and print what they said; whether they passed."""
    began = monotonic()
    options = [
        "-m",
        "not toolchain and not process",
        "-p",
        "no:cacheprovider",
        "-o",
        "faulthandler_timeout=120",
    ]
    python = str(DEBIAN / f"usr/bin/python{PYTHON}")
    code, said = inside(cpu, python, "-m", "pytest", *options, "--durations=10", *arguments)
    ended = f"stopped after {LONGEST_S} s" if code is None else f"exit code {code}"
    print(f"== {cpu}\n{said}== {cpu}: {ended}, {monotonic() - began:.0f} s", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
