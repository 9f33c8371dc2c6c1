"""The steps of `quantize`, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sanderling import metadata, wholefile
from sanderling.errors import InputError, OutputError
from sanderling.metadata import ImageInput, ModelMetadata
from sanderling.quantize import choose, joined, load, measure, pictures, qdq, statistics
from sanderling.quantize.report import Progress, Report, Variant
from sanderling.schema import explain
from sanderling.sources import read_image

Real = NDArray[np.float32]

LEAST_PICTURES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What `quantize` was asked for; its docstring explains each."""

    model: Path
    out: Path
    calibration: Path
    held_out: Path | None
    input_size: tuple[int, int] | None
    image: dict[str, object]
    flavour: Literal["u8s8", "s8s8", "both"]
    reduce_range: bool
    split: bool
    tail: Literal["auto", "int8", "float"]
    keep_quantize_nodes: bool
    rename: dict[str, str]
    about: ModelMetadata | None
    timing_rounds: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class Pictures:
    """Which pictures do what."""

    calibrate: list[Path]
    held_out: list[Path]
    unreadable: list[Path]


@dataclass(frozen=True, slots=True)
class Made:
    """One flavour, quantized."""

    flavour: str
    model: onnx.ModelProto
    agreement: dict[str, float]


def run(job: Job) -> Report:
    """Do all of it; see `sanderling.quantize.quantize`."""
    wholefile.check_place(job.out)
    if job.out.resolve() == job.model.resolve():
        raise OutputError(f"{job.out}: is the float model itself; give another name")
    source = load.load(job.model)
    said = load.described(source, job.model)
    picture = load.with_size(load.picture_input(source, job.model), job.input_size, job.model)
    image = _image(job, said, picture)
    chosen = _pictures(job)

    bench, outputs, notes = _bench(job, source, picture, image, chosen)
    if said.image is None and not {"mean", "std"} & job.image.keys():
        notes["numbers"] = (
            "pixels go in as 0 to 255, as CenterFace wants them; YOLO wants --std 255,255,255"
        )
    if job.input_size is None:
        notes["size"] = (
            f"{picture.width}x{picture.height}, as the file says; --input-size changes it"
        )
    tried = iter(range(1, 4))
    plan = choose.choose(bench, job.tail, lambda: job.progress("choose", next(tried), 3))
    job.progress("choose", 3, 3)
    notes |= plan.notes
    notes["weights"] = "7 bits, so that every processor computes the same"
    if not job.reduce_range:
        notes["weights"] = "8 bits; x86 without VNNI saturates and computes something else"
    notes["calibration"] = f"{len(chosen.calibrate)} pictures"
    notes["quantizer"] = f"onnxruntime {onnxruntime.__version__}"

    made: list[Made] = []
    for number, flavour in enumerate(("u8s8", "s8s8")):
        candidate = bench.quantize(plan, flavour)
        agreed = bench.agreement(candidate)
        model, tensors = candidate
        base = job.about or said
        about = msgspec.structs.replace(
            base,
            name=base.name or job.out.stem,
            image=bench.given.image if picture.name in tensors else image,
            tensors=tensors,
            outputs={**base.outputs, **outputs},
            notes={**base.notes, **notes, "flavour": flavour},
        )
        made.append(Made(flavour, _finished(model, about), agreed))
        job.progress("quantize", number + 1, 2)
    return _report(job, bench.model, made, chosen, notes)


def _image(job: Job, said: ModelMetadata, picture: load.PictureInput) -> ImageInput:
    """How pictures are prepared: as asked, else as the model says, else the defaults."""
    base = said.image or ImageInput(order="grey" if picture.channels == 1 else "rgb")
    fields: dict[str, Any] = msgspec.to_builtins(base)
    try:
        image = msgspec.convert({**fields, **job.image}, ImageInput)
    except msgspec.ValidationError as exc:
        raise InputError(f"how pictures are prepared: {explain(exc, ImageInput)}") from exc
    if (image.order == "grey") != (picture.channels == 1):
        raise InputError(
            f"{job.model}: order {image.order} does not go with an input of"
            f" {picture.channels} channel{'s' * (picture.channels > 1)}"
        )
    return image


def _pictures(job: Job) -> Pictures:
    good, bad = pictures.find(job.calibration, LEAST_PICTURES)
    if job.held_out is None:
        held = good[4::5] or good[-1:]
        return Pictures([path for path in good if path not in held], held, bad)
    held, more = pictures.find(job.held_out, 1)
    return Pictures(good, held, bad + more)


def _batches(paths: list[Path], picture: load.PictureInput, image: ImageInput) -> Iterator[Real]:
    """The float inputs, one at a time: a folder may be larger than the memory."""
    for path in paths:
        pixels = pictures.compose(read_image(path), picture.width, picture.height, image)
        yield pictures.normalise(pixels, image, picture.layout)


def _bench(
    job: Job,
    source: onnx.ModelProto,
    picture: load.PictureInput,
    image: ImageInput,
    chosen: Pictures,
) -> tuple[choose.Bench, dict[str, str], dict[str, str]]:
    """The float model raised, fixed, looked at and taken apart where that is needed.

    Returns:
        All that choosing needs, the outputs that guests know by other names, and notes.
    """
    job.progress("prepare", 0, 1)
    model = load.prepare(source, picture, job.rename, job.model)
    given = qdq.input_range(image, picture.channels)
    notes = {f"input {picture.name}": given.why}
    if job.keep_quantize_nodes:
        notes = {"outer nodes": "kept, as asked: float32 in and out"}
    first = next(_batches(chosen.calibrate, picture, image))
    probes = [np.zeros_like(first), first]
    measure.fix_outputs(model, probes, picture, job.model)
    job.progress("prepare", 1, 1)

    total = len(chosen.calibrate)
    done = iter(range(1, total + 1))
    seen = statistics.collect(
        model,
        _batches(chosen.calibrate, picture, image),
        job.model,
        lambda: job.progress("calibrate", next(done), total),
    )
    outputs: dict[str, str] = {}
    for split in joined.split_joined(model, seen.whole, job.model) if job.split else ():
        outputs |= split.guest
        notes[f"output {split.output}"] = (
            f"taken apart into {' and '.join(split.parts)}: their ranges differ {split.ratio:.0f}"
            " times, one scale would lose the smaller"
        )
    measure.fix_outputs(model, probes, picture, job.model)

    loaded = load.session(model)
    wanted = []
    for number, batch in enumerate(_batches(chosen.held_out, picture, image)):
        wanted.append(measure.run(loaded, batch))
        job.progress("float outputs", number + 1, len(chosen.held_out))
    bench = choose.Bench(
        path=job.model,
        model=model,
        given=given,
        seen=seen,
        # With the mean that the integers stand for, so that a pixel is stored as itself.
        held_out=lambda: _batches(
            chosen.held_out, picture, image if job.keep_quantize_nodes else given.image
        ),
        wanted=wanted,
        keep_nodes=job.keep_quantize_nodes,
        reduce_range=job.reduce_range,
    )
    return bench, outputs, notes


def _finished(model: onnx.ModelProto, about: ModelMetadata) -> onnx.ModelProto:
    """The model with our metadata, and without what only its making needed."""
    kept = [
        item
        for item in model.metadata_props
        if item.key != metadata.KEY and not item.key.startswith("onnx.")
    ]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=metadata.KEY, value=metadata.dump(about))
    del model.graph.value_info[:]
    model.producer_name, model.producer_version, model.doc_string = "sanderling", "", ""
    for node in model.graph.node:
        node.doc_string = ""
    return model


def _report(
    job: Job,
    model: onnx.ModelProto,
    made: list[Made],
    chosen: Pictures,
    notes: dict[str, str],
) -> Report:
    """Time the models, write those asked for, and put the table together."""
    rounds = job.timing_rounds
    ticks = iter(range(1, rounds + 3))
    times = measure.medians_ms(
        [model, *(item.model for item in made)],
        rounds,
        lambda: job.progress("time", next(ticks), rounds + 2),
    )
    names = [item.name for item in model.graph.output]
    variants = [Variant("float", model.ByteSize(), times[0], dict.fromkeys(names, 1.0))]
    beside = job.out.with_name(f"{job.out.stem}-s8s8{job.out.suffix}")
    for item, taken in zip(made, times[1:], strict=True):
        data = item.model.SerializeToString(deterministic=True)
        path = None
        if job.flavour in (item.flavour, "both"):
            path = beside if job.flavour == "both" and item.flavour == "s8s8" else job.out
            wholefile.write(path, data)
        variants.append(Variant(item.flavour, len(data), taken, item.agreement, path))
    return Report(
        tuple(variants),
        notes,
        tuple(path.name for path in chosen.calibrate),
        tuple(path.name for path in chosen.held_out),
        tuple(path.name for path in chosen.unreadable),
    )
