"""What a tensor is: dtype, shape and, where quantized, scale and zero point."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np


class DType(enum.IntEnum):
    """Element types, with the numbers they have in the guest ABI (`enum sl_dtype`)."""

    U8 = 1
    I8 = 2
    U16 = 3
    I16 = 4
    I32 = 5
    I64 = 6
    F16 = 7
    F32 = 8
    F64 = 9
    BOOL = 10

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The same as a numpy dtype, little-endian as WebAssembly memory is."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.numpy.itemsize

    @property
    def quantized(self) -> bool:
        """Whether a scale and a zero point may belong to it."""
        return self in (DType.U8, DType.I8, DType.U16, DType.I16, DType.I32)

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, name: str) -> DType:
        """The dtype of this name (`u8`, `f32`, ...).

        Raises:
            KeyError: there is none of this name.
        """
        return cls[name.upper()]

    @classmethod
    def of(cls, dtype: np.dtype[np.generic]) -> DType:
        """The dtype of a numpy dtype.

        Raises:
            KeyError: the ABI has no such type.
        """
        return _FROM_NUMPY[dtype]


_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.U8: np.dtype(np.uint8),
    DType.I8: np.dtype(np.int8),
    DType.U16: np.dtype(np.uint16),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.BOOL: np.dtype(np.bool_),
}
_FROM_NUMPY = {dtype: key for key, dtype in _NUMPY.items()}


class PixelFormat(enum.IntEnum):
    """Pixel formats, with their numbers in the guest ABI (`enum sl_format`)."""

    NONE = 0
    BGR = 1
    RGB = 2
    GREY = 3
    YUYV = 4
    NV12 = 5

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor without its data.

    Attributes:
        dtype: the type of the elements as stored.
        shape: the greatest shape it has, outermost dimension first.
        scale: where quantized, `real = scale * (stored - zero_point)`; else 0.
        zero_point: the stored value that stands for 0.
        format: for a picture, how its pixels are stored.
    """

    dtype: DType
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0
    format: PixelFormat = PixelFormat.NONE

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes its data has."""
        return self.elements * self.dtype.itemsize

    def __str__(self) -> str:
        text = f"{self.dtype} {shape_text(self.shape)}"
        if self.scale:
            text += f" scale {self.scale:.6g} zero point {self.zero_point}"
        return text


def shape_text(shape: tuple[int | str, ...]) -> str:
    """A shape as the docs write it: `[1, 3, 480, 640]`."""
    return "[" + ", ".join(str(dim) for dim in shape) + "]"
