"""Sanderling: quantized models on small boards, every step around them in a sandbox.

    import sanderling

    with sanderling.open("faces.toml") as faces:
        result = faces(image)  # uint8 [height, width, 3], BGR
        for result in faces.watch("rtsp://192.0.2.7/stream"):
            ...

Names are imported when they are first used, so that `import sanderling` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sanderling.detections import Classes, Detections, Result
    from sanderling.errors import FrameError, InputError, SanderlingError
    from sanderling.frame import Frame
    from sanderling.pipeline import Pipeline, open
    from sanderling.watch import Watch

__version__ = "0.1.0"

_HOME = {
    "Classes": "detections",
    "Detections": "detections",
    "Frame": "frame",
    "FrameError": "errors",
    "InputError": "errors",
    "Pipeline": "pipeline",
    "Result": "detections",
    "SanderlingError": "errors",
    "Watch": "watch",
    "open": "pipeline",
}

__all__ = [
    "Classes",
    "Detections",
    "Frame",
    "FrameError",
    "InputError",
    "Pipeline",
    "Result",
    "SanderlingError",
    "Watch",
    "open",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'sanderling' has no attribute {name!r}")
    value: object = getattr(import_module(f"sanderling.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*globals(), *_HOME))
