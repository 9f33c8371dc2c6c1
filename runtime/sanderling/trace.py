"""Where each frame's time goes, as a file that a browser draws.

The Trace Event Format of Chromium: open the file in Perfetto (ui.perfetto.dev) or in
chrome://tracing. A row a lane, a bar a stage; bars of two lanes above each other are frames that
overlap.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sanderling.errors import OutputError

MAX_EVENTS = 1 << 18
"""Stages that are kept, the newest; a day of frames would fill the memory."""


class Trace:
    """Collects what lanes tell, from any thread.

    Args:
        most: stages that are kept.
    """

    def __init__(self, most: int = MAX_EVENTS) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[int, str, int, int]] = deque(maxlen=most)
        self._rows: dict[str, int] = {}
        self._began = time.perf_counter_ns()

    def lane(self, pipeline: str, number: int) -> Callable[[str, int, int], None]:
        """What a lane tells of each stage it has run: its name, begin and end, in ns.

        Args:
            pipeline: the pipeline's name.
            number: the lane's.
        """
        with self._lock:
            row = self._rows.setdefault(f"{pipeline}, lane {number}", len(self._rows) + 1)

        def tell(stage: str, began: int, ended: int) -> None:
            self._events.append((row, stage, began, ended))

        return tell

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            OutputError: it cannot be written.
        """
        process = os.getpid()
        events: list[dict[str, object]] = [
            {"ph": "M", "name": "thread_name", "pid": process, "tid": row, "args": {"name": name}}
            for name, row in list(self._rows.items())
        ]
        events += [
            {
                "ph": "X",
                "name": stage,
                "pid": process,
                "tid": row,
                "ts": (began - self._began) / 1000,
                "dur": (ended - began) / 1000,
            }
            for row, stage, began, ended in list(self._events)
        ]
        try:
            Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
        except OSError as exc:
            raise OutputError(f"{path}: cannot be written: {exc.strerror}") from exc
