"""Every error that Sanderling raises.

    SanderlingError
    +-- InputError                what a person gave is wrong: exit code 2
    |   +-- ConfigError           a pipeline file, a parameter
    |   +-- SourceError           a picture, a folder, a video, a camera
    |   +-- ModelError            a model file, or what is in it
    |   +-- ModuleError           a guest's file: not WebAssembly, no manifest, refused
    |   +-- PlanError             parts that are right by themselves and do not fit together
    |   +-- OutputError           a place to write to that cannot be written
    +-- FrameError                one frame is lost, the next may go on; has `stage` and `reason`
        +-- GuestError
        |   +-- GuestTrap         the guest trapped: unreachable, out of bounds, stack overflow
        |   +-- GuestDeadline     the guest was not done in time
        |   +-- GuestFailure      the guest returned an error code of its own
        |   +-- GuestViolation    the guest broke the ABI: an address or a shape that cannot be
        |   +-- GuestBroken       the guest failed so often in a row that it is no longer called
        +-- ModelRunError         onnxruntime failed on this frame

Messages are written for people: what happened, where, what to do.
"""

from __future__ import annotations


class SanderlingError(Exception):
    """The root of the tree."""


class InputError(SanderlingError):
    """What a person gave is wrong; nothing was lost."""


class ConfigError(InputError):
    """A pipeline file or a parameter is wrong."""


class SourceError(InputError):
    """A picture, folder, video or camera cannot be read."""


class ModelError(InputError):
    """A model file is missing, is not ONNX, or cannot be run here."""


class ModuleError(InputError):
    """A guest's file is not WebAssembly, has no manifest, or is refused by the policy."""


class PlanError(InputError):
    """A stage does not fit the one before it."""


class OutputError(InputError):
    """A place to write results to cannot be written."""


class FrameError(SanderlingError):
    """One frame is lost.

    Attributes:
        stage: the name of the stage that lost it.
        reason: one word for counters, such as ``trap`` or ``deadline``.
    """

    reason = "failed"

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(f"{stage}: {message}")
        self.stage = stage


class GuestError(FrameError):
    """A guest lost the frame."""

    reason = "guest"


class GuestTrap(GuestError):
    """The guest trapped."""

    reason = "trap"


class GuestDeadline(GuestError):
    """The guest was not done before its deadline."""

    reason = "deadline"


class GuestFailure(GuestError):
    """The guest returned an error code.

    Attributes:
        code: what it returned.
    """

    reason = "error"

    def __init__(self, stage: str, message: str, code: int) -> None:
        super().__init__(stage, message)
        self.code = code


class GuestViolation(GuestError):
    """The guest returned something that the ABI does not allow."""

    reason = "violation"


class GuestBroken(GuestError):
    """The guest failed too often in a row; it is left alone for a while."""

    reason = "breaker"


class ModelRunError(FrameError):
    """onnxruntime could not run the model on this frame."""

    reason = "model"
