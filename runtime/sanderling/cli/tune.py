"""`sanderling tune`: find out how a pipeline runs best on this board."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sanderling import __version__, board, profile, variants, wholefile
from sanderling.board import Board
from sanderling.cli.doctor import choose, packages
from sanderling.cli.text import GivenPath, count, table
from sanderling.errors import ConfigError, SourceError
from sanderling.profile import Bounds, Evidence, Preferred, Profile
from sanderling.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sanderling.candidates import Candidate, Subject
    from sanderling.frame import Image
    from sanderling.tuning import Trial

_PICTURES = 8
_ENOUGH = 10
"""Things in the pictures from which on the agreement of variants says something."""
_MADE_UP = (720, 1280)
"""Height and width of the picture that stands in where none is given."""


@click.command(
    epilog="Example: sanderling tune faces.toml --source photos --budget 120 -o board.toml"
)
@click.argument("pipeline", type=GivenPath())
@click.option(
    "--source",
    type=GivenPath(),
    metavar="PATH",
    help=f"Pictures like the camera's, or a video; the first {_PICTURES} are used.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=1, max=86_400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure.",
)
@click.option("-o", "--output", type=GivenPath(), metavar="PROFILE.toml", help="What to write.")
@click.option(
    "--profile",
    "given",
    type=GivenPath(),
    metavar="PROFILE",
    help="The profile to begin with, in place of the board's.",
)
@click.option(
    "--agree",
    type=click.FloatRange(min=0, max=1),
    default=0.9,
    show_default=True,
    metavar="SHARE",
    help="How much of what the reference finds a variant must find to be chosen.",
)
@click.option(
    "--aim",
    type=click.Choice(["auto", "latency", "throughput"]),
    default="auto",
    show_default=True,
    help="The least time for a frame, or the most frames a second; auto: the latter where it gives"
    " 1.2 times as many.",
)
def command(
    pipeline: Path,
    source: Path | None,
    budget: float,
    output: Path | None,
    given: Path | None,
    agree: float,
    aim: str,
) -> None:
    """Measure PIPELINE on this board: modes, thread counts, and variants of its model.

    Variants are models of the same NAME beside it or installed: NAME.onnx, NAME-float.onnx,
    NAME-int8.onnx, NAME-s8s8.onnx, NAME-int8-320x240.onnx. Of a pipeline with several models only
    the first is varied. What is found best is written into a profile, with the figures.
    """
    if output is not None:
        wholefile.check_place(output)
    seen = board.read()
    base = choose(seen, given).profile
    bounds = profile.settle(base, seen.facts())
    for warning in bounds.warnings:
        click.echo(f"sanderling: {printable(warning)}", err=True)

    from sanderling import candidates, tuning  # noqa: PLC0415 - loads onnxruntime

    of = candidates.subject(pipeline)
    pictures, about = _pictures(source)
    before = seen.sample()
    began = time.monotonic()
    with _bar(budget) as progress:
        trials = tuning.measure(
            candidates.candidates(of.models, bounds.threads),
            candidates.opener(of, bounds.threads, time.perf_counter_ns),
            pictures,
            budget,
            least_agreement=agree,
            clock_ns=time.perf_counter_ns,
            progress=progress,
        )
    best, reference = tuning.best(trials, aim), tuning.reference(trials)
    found = tuning.found(trials, reference)
    evidence = Evidence(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        board=printable(seen.name),
        kernel=printable(seen.kernel),
        versions={"sanderling": __version__, **{k: v or "" for k, v in packages().items()}},
        pipeline=printable(pipeline),
        pictures=about,
        seconds=round(time.monotonic() - began, 1),
        reference=printable(reference.stem),
        warnings=[*_few(of, found), *_doubts(seen, before, bounds)],
        int8=tuning.gain(trials),
        candidates=[trial.evidence() for trial in trials],
    )
    click.echo(_report(of, trials, best, evidence))
    click.echo("\n".join(_answers(trials, best, evidence)))
    if output is None:
        click.echo("\nnothing was written; -o PROFILE.toml keeps it in a profile")
        return
    tuned = _tuned(base, best.candidate, evidence)
    wholefile.write(output, profile.dump(tuned).encode())
    click.echo(f"\nwritten: {printable(output)}")


def _pictures(source: Path | None) -> tuple[list[Image], str]:
    """The pictures to run on, and what they are, for people."""
    if source is None:
        import numpy as np  # noqa: PLC0415 - not needed before

        shape = (*_MADE_UP, 3)
        made = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        return [made], f"made up, {_MADE_UP[1]} x {_MADE_UP[0]}: shows nothing to find"
    from sanderling import sources  # noqa: PLC0415 - loads cv2

    opened = sources.open_source(str(source))
    found: list[Image] = []
    try:
        frames = opened.frames()
        while len(found) < _PICTURES:
            try:
                found.append(next(frames).image)
            except StopIteration:
                break
            except SourceError as exc:
                click.echo(f"sanderling: {printable(exc)}", err=True)
    finally:
        opened.close()
    if not found:
        raise ConfigError(f"{source}: no picture in it can be read")
    sizes = sorted({f"{image.shape[1]} x {image.shape[0]}" for image in found})
    return found, f"{len(found)} of {printable(source)}, {', '.join(sizes)}"


@contextmanager
def _bar(budget: float) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal, nothing in a pipe."""
    with click.progressbar(
        length=max(1, int(budget * 10)),
        label="measuring",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        show_eta=False,
    ) as bar:
        yield lambda passed: bar.update(int(passed * 10) - bar.pos)


def _few(of: Subject, found: int) -> list[str]:
    """A word of caution where variants were compared on next to nothing."""
    if len(of.models) == 1 or found >= _ENOUGH:
        return []
    if not found:
        return [
            "nothing was found in the pictures: only the pipeline's own model could be chosen;"
            " give --source pictures with something in them"
        ]
    return [
        f"only {found} found in the pictures, which says little of how far variants agree;"
        " give --source more of them"
    ]


def _doubts(seen: Board, before: board.Reading, bounds: Bounds) -> list[str]:
    """What puts the figures in doubt."""
    after = seen.sample()
    doubts = []
    for when, reading in (("before", before), ("after", after)):
        if reading.celsius is not None and reading.celsius >= bounds.limit_c:
            doubts.append(f"too hot {when} measuring: {reading.celsius:.1f} °C")
        if reading.power is not None and (reading.power.throttled or reading.power.under_voltage):
            doubts.append(f"throttled or short of voltage {when} measuring")
    if after.memory.swap_used > before.memory.swap_used:
        doubts.append("memory was swapped out while measuring")
    return doubts


def _report(of: Subject, trials: list[Trial], best: Trial, evidence: Evidence) -> str:
    rows = [["", "model", "mode", "threads", "ms", "p95", "fps", "frames", "found", "agrees",
             "note"]]  # fmt: skip
    for trial, figures in zip(trials, evidence.candidates, strict=True):
        row = ["*" if trial is best else "", figures.model, figures.mode, str(figures.threads)]
        if figures.frames:
            share = "" if figures.agreement is None else f"{figures.agreement:.0%}"
            row += [f"{figures.median_ms:.2f}", f"{figures.p95_ms:.2f}", f"{figures.fps:.1f}"]
            row += [str(figures.frames), str(figures.found), share, figures.note]
        else:
            row += ["", "", "", "", "", "", figures.note]
        rows.append(row)
    lines = [
        f"{printable(of.path)} on {evidence.board or 'this board'}, pictures: {evidence.pictures}",
        f"agrees: with what {evidence.reference} finds, at IoU 0.5",
        "",
        table(rows, right=(3, 4, 5, 6, 7, 8, 9)),
        "",
    ]
    return "\n".join(lines)


def _answers(trials: list[Trial], best: Trial, evidence: Evidence) -> list[str]:
    """What the figures say, for people."""
    from sanderling import tuning  # noqa: PLC0415 - loads onnxruntime

    lines = []
    for trial, what in (
        (tuning.best_of(trials, "latency"), "one frame at a time"),
        (tuning.best_of(trials, "throughput"), "frames overlapping"),
    ):
        if trial is not None:
            chosen = "chosen: " if trial is best else ""
            lines.append(f"{chosen}{what}: {_told(trial)}")
    lines.sort(key=lambda line: not line.startswith("chosen"))
    if best.candidate.model != trials[0].candidate.model:
        lines.append(
            f"to run {best.candidate.model.stem}, name it in the pipeline file in place of"
            f" {trials[0].candidate.model.stem}"
        )
    lines.append(evidence.int8)
    lines += [f"in doubt: {warning}" for warning in evidence.warnings]
    return [printable(line) for line in lines]


def _told(trial: Trial) -> str:
    threads = count(trial.candidate.threads, "thread")
    return (
        f"{trial.candidate.model.stem} with {threads}, {trial.median_ms:.2f} ms a frame,"
        f" {trial.fps:.1f} frames a second"
    )


def _tuned(base: Profile, best: Candidate, evidence: Evidence) -> Profile:
    """The base profile with what was found best, and the figures."""
    said = variants.parse(best.model.stem)
    chosen: dict[str, str | int] = {
        "model": printable(best.model.stem),
        "variant": said.kind,
        "flavour": said.flavour,
        "size": f"{said.size[0]}x{said.size[1]}" if said.size else "",
        "mode": best.mode,
        "threads": best.threads,
    }
    chosen = {key: value for key, value in chosen.items() if value}
    preferred = msgspec.convert(
        chosen | {"sources": dict.fromkeys(chosen, "measured on this board: see [evidence]")},
        Preferred,
    )
    return msgspec.structs.replace(base, preferred=preferred, evidence=evidence)
