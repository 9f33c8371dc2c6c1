"""Which tensor goes where: names first, then order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from sanderling.errors import ConfigError

FRAME = -1
"""The stage number of the frame itself."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What a stage takes and makes, by name.

    Attributes:
        name: the stage's.
        inputs: each input and whether it may be left out.
        outputs: each output.
        explicit: inputs that the pipeline file names a tensor for.
        kinds: dtype and shape of each, in words, for messages.
        hint: which stage would fit its outputs, for messages.
        from_frame: inputs that take the frame where the file says nothing else.
        aside: outputs that are taken by their name alone, never by their order.
    """

    name: str
    inputs: tuple[tuple[str, bool], ...]
    outputs: tuple[str, ...]
    explicit: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    hint: str = ""
    from_frame: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()

    def described(self, name: str) -> str:
        """A tensor's name with its dtype and shape."""
        return f"{name} {self.kinds[name]}" if name in self.kinds else name


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an input comes from: a stage (or `FRAME`) and the index of its output."""

    stage: int
    port: int


def wire(stages: list[Ends], where: str) -> list[list[Origin | None]]:
    """The origin of each input of each stage, None for an optional one that nothing feeds.

    An input takes the tensor that the file names for it; else the frame, where the guest's manifest
    says so; else the nearest earlier tensor of its own name; else, for those that must not be left
    out, the outputs of the stage before in their order. A stage that only makes notes (outputs that
    are aside) is looked through. The first stage takes the frame.

    Args:
        stages: in order.
        where: the pipeline file, for messages.

    Raises:
        ConfigError: an input that nothing feeds, or a name that is not there.
    """
    return [_wire_one(stages, index, where) for index in range(len(stages))]


def _wire_one(stages: list[Ends], index: int, where: str) -> list[Origin | None]:
    stage = stages[index]
    known = [name for name, _ in stage.inputs]
    for name in stage.explicit:
        if name not in known:
            raise ConfigError(
                f"{where}: stage {stage.name}: it has no input {name!r}; it has: {', '.join(known)}"
            )
    origins: list[Origin | None] = []
    for name, _ in stage.inputs:
        if name in stage.explicit:
            origins.append(_named(stages, index, name, where))
        elif name in stage.from_frame:
            origins.append(Origin(FRAME, 0))
        else:
            origins.append(_nearest(stages, index, name))
    spare = [origin for origin in _before(stages, index) if origin not in origins]
    for position, (name, optional) in enumerate(stage.inputs):
        if origins[position] is None and not optional:
            if not spare:
                raise ConfigError(f"{where}: {_nothing_feeds(stages, index, name)}")
            origins[position] = spare.pop(0)
    return origins


def _before(stages: list[Ends], index: int) -> list[Origin]:
    """What the stage before makes, in order; the frame where there is none."""
    for earlier in range(index - 1, -1, -1):
        stage = stages[earlier]
        if made := [
            Origin(earlier, port)
            for port, name in enumerate(stage.outputs)
            if name not in stage.aside
        ]:
            return made
    return [Origin(FRAME, 0)]


def _nearest(stages: list[Ends], index: int, name: str) -> Origin | None:
    for earlier in range(index - 1, -1, -1):
        if name in stages[earlier].outputs:
            return Origin(earlier, stages[earlier].outputs.index(name))
    return None


def _named(stages: list[Ends], index: int, name: str, where: str) -> Origin:
    wanted = stages[index].explicit[name]
    if wanted == "frame":
        return Origin(FRAME, 0)
    # A stage's name may hold a dot, a tensor's may too: try every split.
    for earlier in range(index - 1, -1, -1):
        before = stages[earlier]
        for port, output in enumerate(before.outputs):
            if wanted in (output, f"{before.name}.{output}"):
                return Origin(earlier, port)
    made = [f"{stage.name}.{output}" for stage in stages[:index] for output in stage.outputs]
    raise ConfigError(
        f"{where}: stage {stages[index].name}: inputs.{name} = {wanted!r}: nothing before it makes"
        f" that; there is: frame, {', '.join(made)}"
    )


def _nothing_feeds(stages: list[Ends], index: int, name: str) -> str:
    stage = stages[index]
    if index == 0:
        return f"stage {stage.name}: it comes first, the frame is all there is; {name!r} is not fed"
    before = stages[index - 1]
    made = ", ".join(before.described(output) for output in before.outputs)
    text = (
        f"stage {stage.name}: nothing before it makes its input {stage.described(name)};"
        f" {before.name} makes {made}"
    )
    return f"{text}; {before.hint}" if before.hint else text
