"""The results of a source as they come: what `Pipeline.watch` gives."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType

from sanderling.camera import Camera
from sanderling.counts import Counts
from sanderling.detections import Result
from sanderling.frame import Frame
from sanderling.look import Event, Look
from sanderling.pool import Pool
from sanderling.source import Source, Stamp

_LOOK_S = 0.1
"""How often somebody who waits for a result looks whether one can still come."""


class Watch(Iterator[Result], AsyncIterator[Result]):
    """An iterator over results, in the order in which their frames were captured.

    A frame that is lost gives no result: `counts` has it. Use it as a context manager, or run it to
    its end, or close the pipeline: each ends it.

    Args:
        source: gives the frames; it is closed with this.
        pool: runs them.
        look: how they are taken.
        on_event: told what a person may want to know.
        on_frame: takes each frame with its result, before it comes out here. The pixels are only
            there during the call.
        on_lost: told of each frame that is lost, with its stamp where it has one, and why.
    """

    def __init__(
        self,
        source: Source,
        pool: Pool,
        look: Look,
        *,
        on_event: Callable[[Event], None],
        on_frame: Callable[[Frame, Result], None] | None = None,
        on_lost: Callable[[Stamp | None, Exception], None] | None = None,
    ) -> None:
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._closed = False
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._error: Exception | None = None
        self._camera = Camera(
            "watch",
            source,
            pool,
            look,
            self._publish,
            on_event=on_event,
            on_lost=self._lost,
            keep=on_frame is not None,
            # Whoever takes the results sets the pace; frames that come meanwhile meet the policy.
            # What waits here is never more than this, and holds no lane from another.
            ahead=pool.layout.lanes + (look.policy == "block"),
        )
        self._camera.start()

    def _lost(self, stamp: Stamp | None, exc: Exception) -> None:
        if self._on_lost is None or self._error is not None:
            return
        try:
            self._on_lost(stamp, exc)
        except Exception as error:  # noqa: BLE001 - raised again where the results are taken
            self._error = error

    def _publish(self, frame: Frame, result: Result) -> None:
        if self._error is not None:
            return
        if self._on_frame is not None:
            try:
                self._on_frame(frame, result)
            except Exception as error:
                self._error = error
                raise
        self._results.put(result)

    @property
    def counts(self) -> Counts:
        """What became of the frames so far."""
        return self._camera.counts()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Result:
        """The next result; waits for it. Raises what `on_frame` or `on_lost` raised."""
        result = self._take()
        if result is None:
            raise StopIteration
        return result

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Result:
        """The next result; other tasks go on meanwhile."""
        result = await asyncio.to_thread(self._take)
        if result is None:
            raise StopAsyncIteration
        return result

    def _take(self) -> Result | None:
        while not self._closed:
            ended = self._camera.ended.is_set()
            if self._error is not None:
                self.close()
                raise self._error
            try:
                result = self._results.get(timeout=0 if ended else _LOOK_S)
            except queue.Empty:
                if ended:
                    break
                continue
            self._camera.took()
            return result
        return None

    def close(self) -> None:
        """End it; frames in flight are finished, and their results dropped."""
        self._closed = True
        self._camera.stop()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)
