"""Sanderling: quantized models on small boards, every step around them in a sandbox."""

from __future__ import annotations

__version__ = "0.1.0"
