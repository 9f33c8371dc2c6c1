"""The photographs that calibrate and judge the face models; all come with scikit-image.

Which is which never changes: what judges a model must not have shaped it. The picture that the demo
and the documentation show, the astronaut, is held out.
"""

from __future__ import annotations

import numpy as np
from common import Input, Picture
from numpy.typing import NDArray

from sanderling.imaging import read_image
from sanderling.quantize.pictures import resize


def _shipped(name: str, license: str, sha256: str) -> Input:
    return Input("scikit-image", "0.26.0", f"skimage/data/{name}", license, sha256)


ASTRONAUT = _shipped(
    "astronaut.png",
    "public domain (NASA)",
    "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
)
CALIBRATE = (
    _shipped(
        "camera.png",
        "CC0-1.0",
        "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    ),
    _shipped(
        "chelsea.png",
        "CC0-1.0",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ),
    _shipped(
        "coffee.png",
        "CC0-1.0",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    _shipped(
        "rocket.jpg",
        "CC0-1.0",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    _shipped(
        "motorcycle_left.png",
        "CC0-1.0",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    ),
)
FACES = _shipped(  # 100 faces, then 100 other things, 25 x 25 pixels, grey
    "lfw_subset.npy",
    "not shipped on; used to calibrate and to measure only (Labeled Faces in the Wild)",
    "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c",
)
INPUTS = (*CALIBRATE, ASTRONAUT, FACES)

SIDES = (64, 96, 128)  # pixels that a face of a sheet is blown up to


def sheet(faces: NDArray[np.uint8], side: int) -> Picture:
    """Faces side by side on grey, as many as a picture of 640 x 480 holds."""
    canvas = np.full((480, 640, 3), 128, np.uint8)
    waiting = iter(faces)
    for y in range(8, 480 - side, side + 16):
        for x in range(8, 640 - side, side + 16):
            face = next(waiting, None)
            if face is not None:
                canvas[y : y + side, x : x + side] = resize(face[:, :, None], side, side)
    return canvas


def sheets(first: int, last: int) -> dict[str, Picture]:
    """One sheet for each size, with the faces from `first` up to `last`."""
    stored = np.load(FACES.open(), allow_pickle=False)[first:last]
    faces = np.rint(stored * 255).astype(np.uint8)
    return {f"faces-{first}-{last - 1}-{side}px": sheet(faces, side) for side in SIDES}


def calibration() -> dict[str, Picture]:
    """Five photographs, and faces 0 to 59 in three sizes."""
    photographs = {item.path.rpartition("/")[2]: read_image(item.open()) for item in CALIBRATE}
    return {name.partition(".")[0]: picture for name, picture in photographs.items()} | sheets(
        0, 60
    )


def held_out() -> dict[str, Picture]:
    """The astronaut, whole and three parts of it, and faces 60 to 99 in three sizes."""
    whole = read_image(ASTRONAUT.open())
    return {
        "astronaut": whole,
        "astronaut-upper-left": whole[:384, :384],
        "astronaut-face": whole[16:240, 120:344],
        "astronaut-half-size": resize(whole, 256, 256),
        **sheets(60, 100),
    }
