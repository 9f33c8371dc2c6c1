"""The two machines a guest can run in for a test, and how it is built for each. See guestkit.py."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns
from types import ModuleType
from typing import IO, Protocol

import wasmtime

import system

ROOT = Path(__file__).resolve().parent.parent
GUESTS = ROOT / "wasm_modules"
CACHE = ROOT / ".cache" / "guestkit"
RUNNER = ROOT / "tests" / "native" / "runner.c"

GCC_FLAGS = ["-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
GCC_VARIANTS = {
    "native": [
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
    ],
    "native-O3": ["-O3"],
}
SANITIZER_ENV = {
    # Nothing is allocated with malloc, so there is nothing to leak; the check needs ptrace.
    "ASAN_OPTIONS": "detect_leaks=0:exitcode=99:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class GuestFault(AssertionError):
    """The guest trapped, a sanitizer stopped it, or it broke a rule of the ABI."""


# ---- building -----------------------------------------------------------------------------------


def _digest(name: str, *more: Path | str) -> str:
    """Of all that a build of this guest is made of."""
    state = hashlib.sha256()
    paths = [*sorted((GUESTS / "include").glob("*.h")), *sorted((GUESTS / name).glob("*.[ch]"))]
    for item in [*paths, *more]:
        state.update(item.read_bytes() if isinstance(item, Path) else item.encode())
        state.update(b"\0")
    return state.hexdigest()[:24]


@functools.cache
def _build_script_at(path: Path) -> ModuleType:
    return load_file(path, "sanderling_wasm_build")


def build_script() -> ModuleType:
    """`wasm_modules/build.py` as a module."""
    return _build_script_at(GUESTS / "build.py")


def load_file(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def wasm_path(name: str) -> Path:
    """The guest as WebAssembly: built from the sources as they are, or as shipped."""
    if importlib.util.find_spec("ziglang") is None:
        return GUESTS / "dist" / f"{name}.wasm"
    made_of = GUESTS / name / "module.toml", GUESTS / "build.py"
    path = CACHE / f"{name}-{_digest(name, *made_of)}.wasm"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            build_script().build(name, Path(folder)).replace(path)
    return path


def compiler() -> str:
    """The C compiler for this machine; skips the test where there is none."""
    return system.require("gcc", "gcc libc6-dev")


def native_path(name: str, variant: str) -> Path:
    """The guest and the runner as a program; skips the test where there is no compiler."""
    command = [compiler(), *GCC_FLAGS, *GCC_VARIANTS[variant]]
    if platform.machine() == "x86_64":
        command.append(
            "-march=x86-64-v2"
        )  # SSE4.2: 128-bit vectors with byte shuffles, as wasm has
    path = CACHE / f"{name}-{variant}-{_digest(name, RUNNER, *command)}"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            made = Path(folder) / "runner"
            sources = [str(GUESTS / name / f"{name}.c"), str(RUNNER)]
            command += [f"-I{GUESTS / 'include'}", *sources, "-o", str(made)]
            built = subprocess.run(command, capture_output=True, text=True, check=False)
            if built.returncode:
                raise GuestFault(f"{name} does not compile with gcc:\n{built.stderr}")
            made.replace(path)
    return path


# ---- the two machines a guest can run in --------------------------------------------------------


class Machine(Protocol):
    """A guest's memory and its calls. Addresses are the guest's."""

    def alloc(self, size: int) -> int: ...
    def write(self, address: int, data: bytes) -> None: ...
    def read(self, address: int, size: int) -> bytes: ...
    def fill(self, address: int, size: int) -> None: ...
    def setup(self, call: int) -> int: ...
    def run(self, call: int, times: int = 1) -> tuple[int, int]: ...
    def reset(self) -> int: ...
    def error(self) -> str: ...
    def freeze(self) -> None: ...
    def close(self) -> None: ...


@functools.cache
def _wasm_module(path: Path) -> wasmtime.Module:
    return wasmtime.Module.from_file(_wasm_engine(), str(path))


@functools.cache
def _wasm_engine() -> wasmtime.Engine:
    return wasmtime.Engine()


class WasmMachine:
    """A guest in wasmtime, with no imports and its manifest's memory limit."""

    def __init__(self, name: str, memory_bytes: int) -> None:
        self.store = wasmtime.Store(_wasm_engine())
        self.store.set_limits(memory_size=memory_bytes)
        instance = wasmtime.Instance(self.store, _wasm_module(wasm_path(name)), [])
        self.exports = instance.exports(self.store)
        self.memory = self.exports["memory"]
        if "_initialize" in self.exports:
            self._call("_initialize")
        self.version = self._call("sl_abi_version")

    def _call(self, name: str, *args: int) -> int:
        try:
            return self.exports[name](self.store, *args)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as exc:
            raise GuestFault(f"{name} trapped: {exc}") from exc

    def alloc(self, size: int) -> int:
        return self._call("sl_alloc", size) & 0xFFFFFFFF

    def write(self, address: int, data: bytes) -> None:
        self.memory.write(self.store, data, address)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.memory.read(self.store, address, address + size))

    def fill(self, address: int, size: int) -> None:
        assert address + size <= self.memory.data_len(self.store)
        base = ctypes.addressof(self.memory.data_ptr(self.store).contents)
        ctypes.memset(base + address, 0xCD, size)

    def setup(self, call: int) -> int:
        return self._call("sl_setup", call)

    def run(self, call: int, times: int = 1) -> tuple[int, int]:
        status, start = 0, perf_counter_ns()
        for _ in range(times):
            status = self._call("sl_run", call)
            if status:
                break
        return status, perf_counter_ns() - start

    def reset(self) -> int:
        return self._call("sl_reset") if "sl_reset" in self.exports else 0

    def error(self) -> str:
        address = self._call("sl_error") if "sl_error" in self.exports else 0
        if not address:
            return ""
        text = self.memory.read(self.store, address, address + 1024)
        return bytes(text).split(b"\0")[0].decode()

    def freeze(self) -> None:
        self.store.set_limits(memory_size=self.memory.data_len(self.store))

    def close(self) -> None:
        self.store.close()


class _Runner:
    """A running runner.c; one a guest and variant for the whole session."""

    def __init__(self, path: Path) -> None:
        self.log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in close)
        self.process = subprocess.Popen(
            [str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=os.environ | SANITIZER_ENV,
            bufsize=0,
        )
        atexit.register(self.close)

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait()
        self.log.close()

    def _receive(self, size: int) -> bytes:
        assert self.process.stdout is not None
        parts = bytearray()
        while len(parts) < size:
            part = self.process.stdout.read(size - len(parts))
            if not part:
                raise GuestFault(f"the runner ended: {self.report()}")
            parts += part
        return bytes(parts)

    def report(self) -> str:
        self.log.seek(0)
        text = self.log.read()
        self.log.seek(0)
        self.log.truncate()
        return text

    def ask(self, op: int, a: int = 0, b: int = 0, data: bytes = b"") -> tuple[int, int, bytes]:
        """One request: the value, the extra number, and the bytes that came with the reply."""
        assert self.process.stdin is not None
        pending = memoryview(struct.pack("<3I", op, a, b) + data)
        while pending:
            pending = pending[self.process.stdin.write(pending) :]
        alive, value, extra = struct.unpack("<IiQ", self._receive(16))
        if not alive:
            raise GuestFault(self.report() or f"it died with wait status {value}")
        payload = self._receive(extra) if op in (_READ, _ERROR) and extra else b""
        return value, extra, payload


(_BEGIN, _ALLOC, _WRITE, _READ, _FILL, _SETUP, _RUN, _RESET, _ERROR, _FREEZE, _END) = range(1, 12)


@functools.cache
def _runner(path: Path) -> _Runner:
    return _Runner(path)


class NativeMachine:
    """A guest compiled for this machine, in a forked child of its runner."""

    def __init__(self, name: str, variant: str, memory_bytes: int) -> None:
        self.runner = _runner(native_path(name, variant))
        self.alive = True
        self.version = self._ask(_BEGIN, memory_bytes)[0]

    def _ask(self, op: int, a: int = 0, b: int = 0, data: bytes = b"") -> tuple[int, int, bytes]:
        try:
            return self.runner.ask(op, a, b, data)
        except GuestFault:
            self.alive = False
            raise

    def alloc(self, size: int) -> int:
        return self._ask(_ALLOC, size)[0] & 0xFFFFFFFF

    def write(self, address: int, data: bytes) -> None:
        self._ask(_WRITE, address, len(data), data)

    def read(self, address: int, size: int) -> bytes:
        return self._ask(_READ, address, size)[2]

    def fill(self, address: int, size: int) -> None:
        self._ask(_FILL, address, size)

    def setup(self, call: int) -> int:
        return self._ask(_SETUP, call)[0]

    def run(self, call: int, times: int = 1) -> tuple[int, int]:
        return self._ask(_RUN, call, times)[:2]

    def reset(self) -> int:
        return self._ask(_RESET)[0]

    def error(self) -> str:
        return self._ask(_ERROR)[2].decode()

    def freeze(self) -> None:
        self._ask(_FREEZE)

    def close(self) -> None:
        if self.alive:
            self._ask(_END)
            self.alive = False
