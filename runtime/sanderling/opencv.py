"""OpenCV, set up: the only module that imports cv2.

cv2 takes up to 90 ms and 36 MB to import, so whoever needs this module imports it late.
"""

from __future__ import annotations

import os

# Before the import: OpenCV reads them once. A header may claim any size, and a board has little
# memory; OpenCV's own warnings would stand between our lines on the terminal.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

__all__ = ["cv2"]
