"""A device profile: what a board is, how much of it may be used, and what runs best on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sanderling import tomlfile
from sanderling.errors import ConfigError

GENERIC = "generic"
"""The profile of a board that no other one is for."""
_SHARE = 0.75
"""Of the board's memory, what is used at most: the system and its caches keep the rest."""

Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9.-]*\Z",
        description="small letters, digits, '.' and '-' only",
    ),
]
Count = Annotated[int, msgspec.Meta(ge=0, le=1024)]
Megabytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
Celsius = Annotated[float, msgspec.Meta(ge=0, le=125)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class _Table(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What all tables of a profile are like."""


class Match(_Table, frozen=True, kw_only=True):
    """The table `[match]`: what a board says of itself where this profile is for it.

    One entry that fits is enough. Of two profiles, the one that names the board wins over one that
    names its chip.

    Attributes:
        compatible: of the device tree, as in `/proc/device-tree/compatible`.
        dmi: names that a PC's firmware gives: vendor and product, or a board's.
        cpu: model names or Arm part numbers, as in `/proc/cpuinfo`.
        sources: for each key, where it comes from.
    """

    compatible: list[str] = []
    dmi: list[str] = []
    cpu: list[str] = []
    sources: dict[str, str] = {}


class Hardware(_Table, frozen=True, kw_only=True):
    """The table `[board]`: what there is.

    Attributes:
        cores: processor cores.
        mhz: highest clock, in MHz; of the fast cores where there are two kinds.
        memory_mb: sizes that it is sold with, in MiB.
        features: of the processor, those that matter for int8, as in `/proc/cpuinfo`.
        sources: for each key, where it comes from.
    """

    cores: Count = 0
    mhz: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    memory_mb: list[Megabytes] = []
    features: list[str] = []
    sources: dict[str, str] = {}


class Limits(_Table, frozen=True, kw_only=True):
    """The table `[limits]`: how much of the board may be used.

    Attributes:
        threads: threads in all; 0 for one a core.
        memory_mb: memory of the daemon, in MiB; 0 for three quarters of what there is.
        megapixels: largest frame, in millions of pixels; 0 for any.
        limit_c: degrees Celsius from which on less is done.
        resume_c: degrees Celsius at which more is done again.
        sources: for each key, where it comes from.
    """

    threads: Count = 0
    memory_mb: Megabytes = 0
    megapixels: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0
    limit_c: Celsius = 80
    resume_c: Celsius = 70
    sources: dict[str, str] = {}


class Preferred(_Table, frozen=True, kw_only=True):
    """The table `[preferred]`: what runs best here. What is left out is not known.

    Attributes:
        model: the model's file name without `.onnx`, where it was measured for one pipeline.
        variant: numbers of the model.
        flavour: of an int8 model, its activations and weights.
        size: input of the model, such as `320x240`.
        mode: whether a frame gets all cores, or stages of different frames overlap.
        threads: threads that a model may use; 0 for one a core.
        sources: for each key, where it comes from.
    """

    model: str = ""
    variant: Literal["", "int8", "float"] = ""
    flavour: Literal["", "s8s8", "u8s8"] = ""
    size: str = ""
    mode: Literal["", "latency", "throughput"] = ""
    threads: Count = 0
    sources: dict[str, str] = {}


class Measured(_Table, frozen=True, kw_only=True):
    """A table `[[evidence.candidate]]`: one way to run the pipeline.

    Attributes:
        model: the model's file name without `.onnx`.
        threads: threads it had.
        mode: how stages were run.
        median_ms: median time from a frame's capture to its result, in ms.
        p95_ms: 95th percentile, in ms.
        fps: frames a second.
        frames: how many were measured.
        found: things found in the pictures; of a classifier, pictures.
        agreement: how far it finds what the reference finds, 0 to 1; left out when unknown.
        note: why it was not measured to the end, or not chosen.
    """

    model: str
    threads: Count
    mode: str = "latency"
    median_ms: Amount = 0
    p95_ms: Amount = 0
    fps: Amount = 0
    frames: Annotated[int, msgspec.Meta(ge=0)] = 0
    found: Annotated[int, msgspec.Meta(ge=0)] = 0
    agreement: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    note: str = ""


class Evidence(_Table, frozen=True, kw_only=True):
    """The table `[evidence]`: what `sanderling tune` measured.

    Attributes:
        date: when, UTC.
        board: on what.
        kernel: its kernel.
        versions: of what took part, by package.
        pipeline: the pipeline file.
        pictures: how many pictures it ran on, and of what size.
        seconds: how long it measured.
        reference: the model that the others are compared with.
        int8: whether int8 is faster than float here, in one sentence.
        warnings: what puts the figures in doubt, such as throttling.
        candidates: all that was tried.
    """

    date: str
    board: str = ""
    kernel: str = ""
    versions: dict[str, str] = {}
    pipeline: str = ""
    pictures: str = ""
    seconds: Amount = 0
    reference: str = ""
    int8: str = ""
    warnings: list[str] = []
    candidates: list[Measured] = msgspec.field(name="candidate", default_factory=list)


class Profile(_Table, frozen=True, kw_only=True):
    """A whole profile.

    Attributes:
        name: what it is chosen and known by.
        title: the board's, for people.
        match: which boards it is for.
        board: what there is.
        limits: how much of it may be used.
        preferred: what runs best.
        evidence: what was measured to find that out.
    """

    name: Name
    title: str = ""
    match: Match = Match()
    board: Hardware = Hardware()
    limits: Limits = Limits()
    preferred: Preferred = Preferred()
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a board says of itself, as far as profiles ask.

    Attributes:
        compatible: of the device tree, the most specific first; empty on a PC.
        dmi: what the firmware calls it.
        cpus: model names and part numbers of its cores.
        cores: cores that may be used.
        memory_mb: memory that may be used, in MiB; 0 when not known.
    """

    compatible: tuple[str, ...] = ()
    dmi: tuple[str, ...] = ()
    cpus: tuple[str, ...] = ()
    cores: int = 1
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The profile of a board.

    Attributes:
        profile: the one.
        why: what it was chosen by, for people.
    """

    profile: Profile
    why: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a profile allows on one board: its limits, or less where the board has less.

    Attributes:
        threads: threads in all, at least 1.
        memory_mb: memory, in MiB; 0 for no limit, where the board does not say what it has.
        megapixels: largest frame, in millions of pixels; 0 for any.
        limit_c: degrees Celsius from which on less is done.
        resume_c: degrees Celsius at which more is done again.
        warnings: what the profile asks for and the board has not, for people.
    """

    threads: int
    memory_mb: int
    megapixels: float
    limit_c: float
    resume_c: float
    warnings: tuple[str, ...] = ()


def read(path: Path) -> Profile:
    """Read a profile.

    Raises:
        ConfigError: names the file, the key, what was found and what would be accepted.
    """
    return parse(tomlfile.read(path, "a profile"), str(path))


def parse(data: bytes, where: str) -> Profile:
    """A profile from its bytes.

    Args:
        data: TOML.
        where: its path, for messages.

    Raises:
        ConfigError: names the file, the key, what was found and what would be accepted.
    """
    profile = tomlfile.decode(data, Profile, where)
    limits = profile.limits
    if not limits.resume_c < limits.limit_c:
        raise ConfigError(
            f"{where}: limits.resume_c: must be below limit_c, {limits.limit_c:g};"
            f" it is {limits.resume_c:g}"
        )
    return profile


def dump(profile: Profile) -> str:
    """The profile as TOML; `parse` gives it back."""
    return tomlfile.dump(msgspec.to_builtins(profile))


def choose(profiles: Iterable[Profile], facts: Facts) -> Choice:
    """The profile that fits a board best.

    A name in the device tree counts for more the more specific it is; then what a PC's firmware
    says; then the processor. When nothing fits it is the generic one.

    Args:
        profiles: all there are, the generic one among them.
        facts: what the board says of itself.

    Raises:
        ConfigError: there is no generic profile.
    """
    ranked = [(_rank(profile, facts), profile) for profile in profiles]
    best = min(
        ((rank, profile.name, why, profile) for (rank, why), profile in ranked if why),
        key=lambda entry: entry[:2],
        default=None,
    )
    if best is not None:
        return Choice(best[3], best[2])
    for _, profile in ranked:
        if profile.name == GENERIC:
            return Choice(profile, "no profile is for this board")
    raise ConfigError(f"there is no profile {GENERIC!r}; the installation is damaged")


def _rank(profile: Profile, facts: Facts) -> tuple[tuple[int, int], str]:
    """How well a profile fits, the least best, and why; no reason when it does not."""
    match = profile.match
    ways = (
        ("device tree", facts.compatible, match.compatible),
        ("firmware", facts.dmi, match.dmi),
        ("processor", facts.cpus, match.cpu),
    )
    for way, (what, said, wanted) in enumerate(ways):
        for place, word in enumerate(said):
            if word in wanted:
                return (way, place), f"the {what} says {word}"
    return (len(ways), 0), ""


def settle(profile: Profile, facts: Facts, asker: str = "") -> Bounds:
    """What a profile allows on this board.

    A profile that asks for more than there is does not stop anything: it is cut down to the board,
    and the warning says so, once, where the profile is read.

    Args:
        profile: the board's.
        facts: what the board says of itself.
        asker: who asks for the limits, where it is not the profile, for people.
    """
    limits = profile.limits
    asked = asker or f"profile {profile.name}: limits"
    warnings = []
    cores = max(1, facts.cores)
    if limits.threads > cores:
        warnings.append(
            f"{asked}.threads is {limits.threads}, and {cores} may be used here; {cores} are used"
        )
    most = int(facts.memory_mb * _SHARE)
    if most and limits.memory_mb > most:
        warnings.append(
            f"{asked}.memory_mb is {limits.memory_mb}, and there are"
            f" {facts.memory_mb} MiB here; {most} are used, three quarters"
        )
    return Bounds(
        threads=min(limits.threads or cores, cores),
        memory_mb=min(limits.memory_mb or most, most) if most else limits.memory_mb,
        megapixels=limits.megapixels,
        limit_c=limits.limit_c,
        resume_c=limits.resume_c,
        warnings=tuple(warnings),
    )
