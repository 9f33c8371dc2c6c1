"""Guests: WebAssembly modules that can touch nothing but their own memory.

The only module that imports wasmtime. `load` admits and compiles a module, `Instance` is one
instance with its memory, its deadline and its one way in. What a guest returns is checked here;
nothing it does can raise anything but a `GuestError` or a `ModuleError`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import wasmtime
from wasmtime import _ffi as ffi

from sanderling import abi, compiled, policy, wasmfile
from sanderling.errors import GuestDeadline, GuestError, GuestTrap, GuestViolation, ModuleError
from sanderling.manifest import Limits, Manifest, read_manifest
from sanderling.policy import Policy
from sanderling.text import printable
from sanderling.ticker import Ticker, ticks

SETUP_DEADLINE_MS = 5000
"""Start-up and sl_setup happen once and may take longer than a frame."""
MAX_FILE_BYTES = 16 << 20
_MAX_STACK = 256 << 10
_MAX_TABLE = 1 << 16
_CONFIG_VERSION = "2"  # part of the cache key: raise it when _engine changes

# The C functions themselves: the wrappers around them cost a Python call each on every frame.
_call_unchecked = ffi.dll.wasmtime_func_call_unchecked
_set_epoch_deadline = ffi.dll.wasmtime_context_set_epoch_deadline

_NO_WAITING = """
(module
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32)
    i32.const 52))  ;; ENOSYS: a native call that waits is not stopped by an epoch
"""


@functools.cache
def _engine() -> wasmtime.Engine:
    """The one engine. Off: what a guest has no use for, and what differs between machines.

    Garbage collection, typed references and exceptions are off for another reason too: the C API
    aborts the process when it meets their types in an export.
    """
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = _MAX_STACK
    config.memory_may_move = False
    config.wasm_relaxed_simd = False
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.cranelift_opt_level = "speed"
    return wasmtime.Engine(config)


@functools.cache
def _ticker() -> Ticker:
    return Ticker(_engine().increment_epoch)


@functools.cache
def _stub() -> wasmtime.Module:
    return wasmtime.Module(_engine(), _NO_WAITING)


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """A guest's code, admitted and compiled.

    Attributes:
        path: where it was read.
        manifest: what it says of itself; None for a bare function without one.
        limits: its memory and deadline.
        digest: SHA-256 of the file, in hexadecimal.
        wasi: whether it imports the WASI calls of a language runtime.
        function: the bare export to call; empty for a guest that speaks the ABI.
        code: the compiled module.
    """

    path: str
    manifest: Manifest | None
    limits: Limits
    digest: str
    wasi: bool
    function: str
    code: wasmtime.Module

    @property
    def stateful(self) -> bool:
        """Whether it remembers earlier frames: such a guest exports sl_reset."""
        return not self.function and any(one.name == "sl_reset" for one in self.code.exports)

    def exports(self) -> dict[str, str]:
        """Each export and its type in words, such as `(i32) -> (i32)`."""
        return {export.name: _type_text(export.type) for export in self.code.exports}


def _type_text(kind: object) -> str:
    if isinstance(kind, wasmtime.FuncType):
        params = ", ".join(map(str, kind.params))
        return f"({params}) -> ({', '.join(map(str, kind.results))})"
    return type(kind).__name__.removesuffix("Type").lower()


_EXPECTED = {
    "memory": "memory",
    "sl_abi_version": "() -> (i32)",
    "sl_alloc": "(i32) -> (i32)",
    "sl_setup": "(i32) -> (i32)",
    "sl_run": "(i32) -> (i32)",
    "sl_error": "() -> (i32)",
    "sl_reset": "() -> (i32)",
    "_initialize": "() -> ()",
}


def read_file(path: Path) -> bytes:
    """A guest's bytes.

    Raises:
        ModuleError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        with path.open("rb") as file:
            wasm = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise ModuleError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(wasm) > MAX_FILE_BYTES:
        raise ModuleError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; not a guest")
    return wasm


def load(path: Path, rules: Policy, *, function: str = "") -> Module:
    """Read, admit and compile a guest.

    Args:
        path: the `.wasm` file.
        rules: what it may ask for.
        function: the bare export to call on a module that does not speak the ABI; its manifest is
            then not needed.

    Raises:
        ModuleError: not WebAssembly, no manifest, refused, an export missing.
    """
    wasm = read_file(path)
    where = str(path)
    digest = hashlib.sha256(wasm).hexdigest()
    outline = wasmfile.outline(wasm, where)
    manifest = None if function else read_manifest(wasm, where)
    limits = (
        manifest.limits
        if manifest
        else Limits(memory_mb=rules.memory_mb, deadline_ms=min(1000, rules.deadline_ms))
    )
    policy.admit(rules, outline, limits, digest, where)
    module = Module(
        path=where,
        manifest=manifest,
        limits=limits,
        digest=digest,
        wasi=bool(outline.imports),
        function=function,
        code=_compile(wasm, digest, where),
    )
    _check_exports(module, function)
    return module


def _compile(wasm: bytes, digest: str, where: str) -> wasmtime.Module:
    name = compiled.key(digest, version("wasmtime"), compiled.cpu_features(), _CONFIG_VERSION)
    if (code := compiled.read(name)) is not None:
        try:
            return wasmtime.Module.deserialize(_engine(), code)
        except wasmtime.WasmtimeError:
            compiled.drop(name)  # made by an engine that wasmtime no longer takes: make it again
    try:
        module = wasmtime.Module(_engine(), wasm)
    except wasmtime.WasmtimeError as exc:
        reason = str(exc).strip().splitlines()[-1].strip()
        raise ModuleError(f"{where}: not a WebAssembly module that can run here: {reason}") from exc
    compiled.write(name, bytes(module.serialize()))
    return module


def _check_exports(module: Module, function: str) -> None:
    have = module.exports()
    required = ("memory", function) if function else abi.REQUIRED_EXPORTS
    # All that the host may ever call is checked: the call itself checks nothing.
    expected = _EXPECTED | ({function: "(i32, i32) -> (i32)"} if function else {})
    wanted = {name: kind for name, kind in expected.items() if name in required or name in have}
    missing = [name for name in wanted if name not in have]
    if missing:
        raise ModuleError(
            f"{module.path}: it does not export {', '.join(missing)}; docs/abi.md says what a guest"
            " exports"
        )
    for name, kind in wanted.items():
        if have[name] != kind:
            raise ModuleError(f"{module.path}: its export {name} is {have[name]}, not {kind}")


_TRAP_WORDS = {
    wasmtime.TrapCode.UNREACHABLE: "it gave up (unreachable)",
    wasmtime.TrapCode.STACK_OVERFLOW: "its stack overflowed",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "it reached outside its memory",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "it divided by zero",
    wasmtime.TrapCode.INTEGER_OVERFLOW: "an integer overflowed",
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: "it converted a number that is no integer",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "it called a function that is not there",
    wasmtime.TrapCode.BAD_SIGNATURE: "it called a function with the wrong type",
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: "it reached outside a table",
}


_TOO_FEW_PAGES = re.compile(r"memory minimum size of (\d+) pages exceeds")


class Instance:
    """One instance of a guest: its memory and the way into it. Used by one thread at a time.

    Args:
        module: the guest.
        stage: the name that errors carry.

    Raises:
        ModuleError: it cannot be instantiated, or speaks another version of the ABI.
        GuestError: it trapped or hung while it started.
    """

    def __init__(self, module: Module, stage: str) -> None:
        self.module = module
        self.stage = stage
        self._limit = int(module.limits.memory_mb * (1 << 20))
        self._deadline = module.limits.deadline_ms
        self._ticks = ticks(self._deadline)
        self._setup_until = time.monotonic() + SETUP_DEADLINE_MS / 1000
        self._ticker = _ticker()
        self._store = wasmtime.Store(_engine())
        self._store.set_limits(
            memory_size=self._limit,
            table_elements=_MAX_TABLE,
            instances=2,  # the guest, and the stub where it needs one
            tables=4,
            memories=1,
        )
        self._functions: dict[str, object] = {}
        self._values = (ffi.wasmtime_val_raw_t * 2)()
        self._trap = ctypes.POINTER(ffi.wasm_trap_t)()
        self._trap_ref = ctypes.byref(self._trap)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        linker = wasmtime.Linker(_engine())
        if self.module.wasi:
            self._store.set_wasi(wasmtime.WasiConfig())
            linker.define_wasi()
            linker.allow_shadowing = True
            stub = wasmtime.Instance(self._store, _stub(), [])
            linker.define_instance(self._store, policy.WASI, stub)
        self._context = self._store._context()
        _set_epoch_deadline(self._context, ticks(SETUP_DEADLINE_MS))
        self._ticker.enter()
        try:
            instance = linker.instantiate(self._store, self.module.code)
        except wasmtime.Trap as exc:
            raise self._trapped(exc, SETUP_DEADLINE_MS) from exc
        except wasmtime.WasmtimeError as exc:
            reason = str(exc).strip().splitlines()[-1].strip()
            if pages := _TOO_FEW_PAGES.search(reason):
                reason = f"it begins with {int(pages[1]) * abi.PAGE / (1 << 20):.3g} MiB"
            raise ModuleError(
                f"{self.module.path}: cannot be instantiated within the"
                f" {self.module.limits.memory_mb:g} MiB that memory_mb allows: {reason}"
            ) from exc
        finally:
            self._ticker.leave()
            linker.close()
        exports = instance.exports(self._store)
        for name in (*_EXPECTED, self.module.function):
            export = exports.get(name)
            if isinstance(export, wasmtime.Func):
                self._functions[name] = ctypes.byref(export._func)
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)  # _check_exports saw to it
        self._memory = memory
        if self.has("_initialize"):
            self.call("_initialize", setup=True, values=0)
        if self.module.manifest is not None:
            spoken = self.call("sl_abi_version", setup=True)
            if spoken >> 16 != abi.MAJOR:
                raise ModuleError(
                    f"{self.module.path}: it speaks version {spoken >> 16} of the guest ABI, this"
                    f" runtime speaks {abi.MAJOR}; build it with this runtime's sanderling.h"
                )

    def has(self, name: str) -> bool:
        """Whether the guest exports a function of this name."""
        return name in self._functions

    @property
    def base(self) -> int:
        """The host address of the guest's memory; it does not move."""
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)

    @property
    def size(self) -> int:
        """Bytes of the guest's memory."""
        return int(self._memory.data_len(self._store))

    def grow(self, size: int) -> int:
        """Add memory behind what there is, for a guest without an allocator.

        Returns:
            The address, in the guest, of `size` bytes that only the host knows of.

        Raises:
            GuestViolation: its limits do not allow so much.
        """
        start = self.size
        try:
            self._memory.grow(self._store, -(-size // abi.PAGE))
        except wasmtime.WasmtimeError as exc:
            raise GuestViolation(
                self.stage, f"its memory cannot grow by {size} bytes; raise memory_mb in [policy]"
            ) from exc
        return start

    def alloc(self, size: int) -> int:
        """An address in the guest with room for `size` bytes, from its own allocator.

        Raises:
            GuestError: it has no room, or names an address that cannot be.
        """
        address = self.call("sl_alloc", size, setup=True) & 0xFFFFFFFF
        if address == 0:
            raise GuestViolation(
                self.stage,
                f"it has no room for {size} bytes within its {self.module.limits.memory_mb:g} MiB"
                " (memory_mb in its module.toml)",
            )
        if address % abi.ALIGN or address + size > self.size:
            raise GuestViolation(
                self.stage,
                f"sl_alloc({size}) returned {address}, which is not {abi.ALIGN}-byte aligned inside"
                f" its memory of {self.size} bytes",
            )
        return address

    def freeze(self) -> None:
        """From here on the memory cannot grow; every address holds for the life of the plan."""
        self._store.set_limits(
            memory_size=self.size,
            table_elements=_MAX_TABLE,
            instances=2,
            tables=4,
            memories=1,
        )

    def call(self, name: str, *args: int, setup: bool = False, values: int = 1) -> int:
        """Call an export that takes and returns i32.

        Args:
            name: the export.
            args: what it is given.
            setup: whether the call is part of the set-up, which has one long deadline in all.
            values: how many slots its arguments and results take.

        Raises:
            GuestDeadline: it was not done in time.
            GuestTrap: it trapped, or left by WASI's proc_exit.
        """
        raw = self._values
        for index, arg in enumerate(args):
            raw[index].i32 = arg
        count, deadline = self._ticks, self._deadline
        if setup:
            left = 1000 * (self._setup_until - time.monotonic())
            count, deadline = ticks(max(left, 0.0)), SETUP_DEADLINE_MS
        _set_epoch_deadline(self._context, count)
        self._ticker.enter()
        try:
            error = _call_unchecked(
                self._context, self._functions[name], raw, len(args) or values, self._trap_ref
            )
        finally:
            self._ticker.leave()
        if self._trap:
            trap = wasmtime.Trap._from_ptr(self._trap)
            self._trap = ctypes.POINTER(ffi.wasm_trap_t)()
            self._trap_ref = ctypes.byref(self._trap)
            raise self._trapped(trap, deadline)
        if error:
            failed = wasmtime.WasmtimeError._from_ptr(error)
            reason = str(failed).strip().splitlines()[-1].strip()
            raise GuestTrap(self.stage, f"the guest stopped: {reason}")
        return int(raw[0].i32)

    def _trapped(self, trap: wasmtime.Trap, deadline: float) -> GuestError:
        code = trap.trap_code
        if code is wasmtime.TrapCode.INTERRUPT:
            return GuestDeadline(
                self.stage,
                f"the guest was not done after {deadline:g} ms and was stopped",
            )
        words = _TRAP_WORDS.get(code, code.name.lower().replace("_", " ")) if code else "it trapped"
        function = next((frame.func_name for frame in trap.frames if frame.func_name), None)
        return GuestTrap(
            self.stage,
            f"the guest trapped: {words}" + (f" in {printable(function)}" if function else ""),
        )

    def error_text(self) -> str:
        """What the guest says of its last error; empty when it says nothing.

        Raises:
            GuestError: it trapped or hung even here; the instance is done for.
        """
        if not self.has("sl_error"):
            return ""
        address = self.call("sl_error") & 0xFFFFFFFF
        if not 0 < address < self.size:
            return ""
        text = ctypes.string_at(self.base + address, min(256, self.size - address))
        return printable(text.partition(b"\0")[0].decode("utf-8", "replace"))

    def reset(self) -> None:
        """Let the guest forget earlier frames, where it can.

        Raises:
            GuestError: it trapped or hung.
        """
        if self.has("sl_reset"):
            self._setup_until = time.monotonic() + SETUP_DEADLINE_MS / 1000
            self.call("sl_reset", setup=True)

    def close(self) -> None:
        """Give the memory back now: left to the collector, address space runs out first."""
        self._functions.clear()
        self._store.close()
