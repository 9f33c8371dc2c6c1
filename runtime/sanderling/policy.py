"""Which guests are let in. Decided from the bytes, before anything is compiled."""

from __future__ import annotations

from typing import Annotated

import msgspec

from sanderling.errors import ModuleError
from sanderling.manifest import Limits
from sanderling.text import printable
from sanderling.wasmfile import Outline

WASI = "wasi_snapshot_preview1"
WASI_FUNCTIONS = frozenset(
    {
        "args_get",
        "args_sizes_get",
        "clock_time_get",
        "environ_get",
        "environ_sizes_get",
        "fd_write",
        "poll_oneoff",
        "proc_exit",
        "random_get",
        "sched_yield",
    }
)
"""The WASI calls that language runtimes need. None of them opens a file or reaches a network."""


Digest = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 hexadecimal digits, a to f small")
]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a guest may ask for; the table `[policy]` of a pipeline file.

    Attributes:
        memory_mb: the most memory a guest may have, in MiB.
        deadline_ms: the longest a call may take, in ms.
        wasi: whether guests may import the WASI calls a language runtime needs.
        digests: when given, the SHA-256 of each guest that is let in, in hexadecimal.
    """

    memory_mb: Annotated[float, msgspec.Meta(gt=0, le=4096)] = 256
    deadline_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 5000
    wasi: bool = False
    digests: list[Digest] | None = None


def admit(policy: Policy, outline: Outline, limits: Limits, digest: str, where: str) -> None:
    """Let a guest in, or say why not.

    Args:
        policy: the rules.
        outline: the outside of the module.
        limits: the memory and time it asks for.
        digest: its SHA-256, in hexadecimal.
        where: its path, for messages.

    Raises:
        ModuleError: it is refused; says the rule and what the guest asks for.
    """
    if policy.digests is not None and digest not in policy.digests:
        raise ModuleError(
            f"{where}: refused: its digest {digest} is not among those let in (digests in [policy])"
        )
    if limits.memory_mb > policy.memory_mb:
        raise ModuleError(
            f"{where}: refused: it asks for {limits.memory_mb:g} MiB of memory, the policy allows"
            f" {policy.memory_mb:g} (memory_mb in [policy])"
        )
    if limits.deadline_ms > policy.deadline_ms:
        raise ModuleError(
            f"{where}: refused: it asks for {limits.deadline_ms:g} ms a call, the policy allows"
            f" {policy.deadline_ms:g} (deadline_ms in [policy])"
        )
    for module, name, kind in outline.imports:
        asked = printable(f"{module}.{name}")
        if kind != "function" or module != WASI:
            raise ModuleError(
                f"{where}: refused: it imports the {kind} {asked}; a guest imports nothing"
            )
        if name not in WASI_FUNCTIONS:
            raise ModuleError(f"{where}: refused: it imports {asked}, which no guest may call")
        if not policy.wasi:
            raise ModuleError(
                f"{where}: refused: it imports {asked}; allow what language runtimes need with"
                " `wasi = true` in [policy]"
            )
