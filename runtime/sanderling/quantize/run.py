"""The steps of `quantize`, in order."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sanderling import metadata
from sanderling.errors import InputError, OutputError
from sanderling.metadata import ImageInput, ModelMetadata, Quantization
from sanderling.quantize import calibrate, joined, load, measure, pictures
from sanderling.quantize.report import Progress, Report, Variant
from sanderling.quantize.strip import strip
from sanderling.sources import read_image

Real = NDArray[np.float32]

LEAST_PICTURES = 4
LEAST_GAIN = 0.25  # a float tail must take this share of the error away,
LEAST_ERROR = 0.01  # and errors below this are not worth one


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
class Prepared:
    """A float model that is ready, with what belongs to it."""

    model: onnx.ModelProto
    picture: load.PictureInput
    given: calibrate.InputRange
    image: ImageInput
    ranges: joined.Ranges
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Which pictures do what."""

    calibrate: list[Path]
    held_out: list[Path]
    unreadable: list[Path]


def run(job: Job) -> Report:
    """Do all of it; see `sanderling.quantize.quantize`."""
    _check_out(job)
    source = load.load(job.model)
    picture = load.with_size(load.picture_input(source, job.model), job.input_size, job.model)
    said = load.described(source, job.model)
    image = _image(job, said, picture)
    chosen = _pictures(job)
    notes: dict[str, str] = {}
    ready = _prepare(job, source, picture, image, chosen, notes)

    total = len(chosen.held_out)
    float_outputs = []
    loaded = load.session(ready.model)
    for number, batch in enumerate(_batches(chosen.held_out, picture, image)):
        float_outputs.append(measure.run(loaded, batch))
        job.progress("float outputs", number + 1, total)

    def agreement(model: onnx.ModelProto, tensors: dict[str, Quantization]) -> dict[str, float]:
        judge = measure.Agreement(model, tensors)
        batches = _batches(chosen.held_out, picture, ready.given.image)
        for batch, wanted in zip(batches, float_outputs, strict=True):
            judge.add(batch, wanted)
        return judge.result()

    exclude = _choose_tail(job, ready, agreement, notes)
    notes["weights"] = "7 bits: equal results on every processor" if job.reduce_range else "8 bits"
    notes["calibration"] = f"{len(chosen.calibrate)} pictures, least and greatest values"
    notes["quantizer"] = f"onnxruntime {onnxruntime.__version__}, opset {_opset(ready.model)}"
    models: list[tuple[str, onnx.ModelProto, dict[str, float]]] = []
    for number, flavour in enumerate(("u8s8", "s8s8")):
        model, tensors = _quantized(job, ready, flavour, exclude)
        about = _about(job, said, ready, tensors, notes | {"flavour": flavour})
        models.append((flavour, _finished(model, about), agreement(model, tensors)))
        job.progress("quantize", number + 1, 2)
    return _report(job, ready, models, chosen, notes)


def _check_out(job: Job) -> None:
    """Refuse a place that cannot be written before the work, not after it."""
    if not job.out.parent.is_dir():
        raise OutputError(f"{job.out}: there is no folder {job.out.parent}; make it first")
    if job.out.is_dir():
        raise OutputError(f"{job.out}: is a folder; give the name of a file")
    if not os.access(job.out.parent, os.W_OK):
        raise OutputError(f"{job.out}: the folder {job.out.parent} is not writable")
    if job.out.resolve() == job.model.resolve():
        raise OutputError(f"{job.out}: is the float model itself; give another name")


def _image(job: Job, said: ModelMetadata, picture: load.PictureInput) -> ImageInput:
    """How pictures are prepared: as asked, else as the model says, else the defaults."""
    base = said.image or ImageInput(order="grey" if picture.channels == 1 else "rgb")
    fields: dict[str, Any] = {name: getattr(base, name) for name in base.__struct_fields__}
    for name, value in job.image.items():
        fields[name] = list(value) if isinstance(value, tuple) else value
    try:
        image = msgspec.convert(fields, ImageInput)
    except msgspec.ValidationError as exc:
        raise InputError(f"preparing pictures: {exc}") from exc
    if (image.order == "grey") != (picture.channels == 1):
        raise InputError(
            f"{job.model}: its input has {picture.channels} channels, the order {image.order} does"
            " not go with that"
        )
    return image


def _pictures(job: Job) -> Pictures:
    good, bad = pictures.find(job.calibration, LEAST_PICTURES)
    if job.held_out is None:
        held = good[4::5] or good[-1:]
        kept = [path for path in good if path not in held]
        return Pictures(kept, held, bad)
    held, more = pictures.find(job.held_out, 1)
    return Pictures(good, held, bad + more)


def _batches(paths: list[Path], picture: load.PictureInput, image: ImageInput) -> Iterator[Real]:
    """The float inputs, one at a time: a folder may be larger than the memory."""
    for path in paths:
        pixels = pictures.compose(read_image(path), picture.width, picture.height, image)
        yield pictures.normalise(pixels, image, picture.layout)


def _prepare(
    job: Job,
    source: onnx.ModelProto,
    picture: load.PictureInput,
    image: ImageInput,
    chosen: Pictures,
    notes: dict[str, str],
) -> Prepared:
    """The float model raised, fixed, calibrated and taken apart where that is needed."""
    job.progress("prepare", 0, 1)
    model = load.prepare(source, picture, job.rename, job.model)
    given = calibrate.input_range(image, picture.channels)
    first = next(_batches(chosen.calibrate, picture, image))
    measure.fix_outputs(model, [np.zeros_like(first), first], job.model)
    job.progress("prepare", 1, 1)

    done = iter(range(1, len(chosen.calibrate) + 1))
    ranges = calibrate.collect(
        model,
        picture.name,
        _batches(chosen.calibrate, picture, image),
        job.model,
        lambda: job.progress("calibrate", next(done), len(chosen.calibrate)),
    )
    outputs: dict[str, str] = {}
    for split in joined.split_joined(model, ranges, job.model) if job.split else ():
        outputs |= split.guest
        notes[f"output {split.output}"] = (
            f"taken apart into {' and '.join(split.parts)}: their ranges differ {split.ratio:.0f}"
            " times, one scale would lose the smaller"
        )
    measure.fix_outputs(model, [first, np.zeros_like(first)], job.model)
    if job.keep_quantize_nodes:
        notes["outer nodes"] = "kept, as asked: float32 in and out"
    else:
        notes[f"input {picture.name}"] = given.why
    return Prepared(model, picture, given, image, ranges, outputs)


def _choose_tail(
    job: Job,
    ready: Prepared,
    agreement: Callable[[onnx.ModelProto, dict[str, Quantization]], dict[str, float]],
    notes: dict[str, str],
) -> set[str]:
    """The names of the nodes that stay float, and a note for each output on why."""
    tails = {name: nodes for name, nodes in joined.tails(ready.model).items() if nodes}
    if job.tail != "auto":
        for name in tails:
            notes[f"tail of {name}"] = f"{job.tail}, as asked"
        return {node for nodes in tails.values() for node in nodes} if job.tail == "float" else set()
    chosen: set[str] = set()
    for name, nodes in tails.items():
        ratio = joined.mixed(ready.model, name, ready.ranges)
        if ratio > 1:
            notes[f"tail of {name}"] = f"float: it joins ranges that differ {ratio:.0f} times"
            chosen.update(nodes)
    open_tails = {name: nodes for name, nodes in tails.items() if not chosen.issuperset(nodes)}
    if not open_tails:
        return chosen
    every = {node for nodes in tails.values() for node in nodes}
    tried = [agreement(*_quantized(job, ready, "u8s8", nodes)) for nodes in (chosen, every)]
    job.progress("compare tails", 1, 1)
    for name, nodes in open_tails.items():
        lost, kept = (1 - each[name] for each in tried)
        gain = lost >= LEAST_ERROR and kept <= (1 - LEAST_GAIN) * lost
        notes[f"tail of {name}"] = (
            f"{'float' if gain else 'int8'}: error {100 * lost:.1f}% in int8, {100 * kept:.1f}% in"
            " float"
        )
        if gain:
            chosen.update(nodes)
    return chosen


def _quantized(
    job: Job, ready: Prepared, flavour: str, exclude: set[str]
) -> tuple[onnx.ModelProto, dict[str, Quantization]]:
    """The model of one flavour, and what its outer nodes knew."""
    model = calibrate.to_qdq(
        ready.model,
        ready.ranges,
        ready.picture.name,
        ready.given,
        signed=flavour == "s8s8",
        reduce_range=job.reduce_range,
        exclude=exclude,
        path=job.model,
    )
    return model, {} if job.keep_quantize_nodes else strip(model)


def _opset(model: onnx.ModelProto) -> int:
    return next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))


def _about(
    job: Job,
    said: ModelMetadata,
    ready: Prepared,
    tensors: dict[str, Quantization],
    notes: dict[str, str],
) -> ModelMetadata:
    """The metadata of the file written: as told, else as the float model says."""
    base = job.about or said
    stays_float = ready.picture.name not in tensors
    return msgspec.structs.replace(
        base,
        name=base.name or job.out.stem,
        image=ready.image if stays_float else ready.given.image,
        tensors=tensors,
        outputs={**base.outputs, **ready.outputs},
        notes={**base.notes, **notes},
    )


def _finished(model: onnx.ModelProto, about: ModelMetadata) -> onnx.ModelProto:
    """The model with our metadata, and without what only its making needed."""
    kept = [item for item in model.metadata_props if not item.key.startswith("onnx")]
    kept = [item for item in kept if item.key != metadata.KEY]
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
    ready: Prepared,
    models: list[tuple[str, onnx.ModelProto, dict[str, float]]],
    chosen: Pictures,
    notes: dict[str, str],
) -> Report:
    """Time the models, write those asked for, and put the table together."""
    rounds = job.timing_rounds
    ticks = iter(range(1, rounds + 3))
    times = measure.medians_ms(
        [ready.model, *(model for _, model, _ in models)],
        rounds,
        lambda: job.progress("time", next(ticks), rounds + 2),
    )
    names = [item.name for item in ready.model.graph.output]
    size = len(ready.model.SerializeToString())
    variants = [Variant("float", size, times[0], dict.fromkeys(names, 1.0))]
    beside = job.out.with_name(f"{job.out.stem}-s8s8{job.out.suffix}")
    for (flavour, model, agreed), taken in zip(models, times[1:], strict=True):
        data = model.SerializeToString(deterministic=True)
        path = None
        if job.flavour in (flavour, "both"):
            path = beside if job.flavour == "both" and flavour == "s8s8" else job.out
            write(path, data)
        variants.append(Variant(flavour, len(data), taken, agreed, path))
    return Report(
        tuple(variants),
        notes,
        tuple(path.name for path in chosen.calibrate),
        tuple(path.name for path in chosen.held_out),
        tuple(path.name for path in chosen.unreadable),
    )


def write(path: Path, data: bytes) -> None:
    """Replace a file in one step: after a crash there is the old one or the new one.

    Raises:
        OutputError: it cannot be written.
    """
    part: str | None = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # mkstemp gives 0600
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        if part is not None:
            with suppress(OSError):
                os.unlink(part)
        raise OutputError(f"{path}: cannot be written: {exc.strerror}") from exc
