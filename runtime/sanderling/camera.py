"""A camera that runs: its frames go from a source through lanes to whoever wants the results.

One thread captures. A frame goes straight into a lane where one is free (decoded into the memory of
the first guest, where the source can), else into a buffer of the camera's own until one is. What
then becomes of it is one of `counts`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sanderling import counts
from sanderling.counts import Account, Counts
from sanderling.detections import Result
from sanderling.errors import FrameError, InputError, PlanError, SourceError
from sanderling.frame import Frame, Image, check_image
from sanderling.lane import Job
from sanderling.look import Buffers, Event, Look, Taken
from sanderling.pace import Pace
from sanderling.pool import Held, Pool
from sanderling.source import Source, Stamp
from sanderling.turns import Turns

_PUBLISH = "publish"
"""The point at which results are handed out, among those where frames take turns."""
_SAME_S = 60.0
"""Seconds in which an event of one kind is told once; the counts have them all."""


class Camera:
    """A source and what becomes of its frames.

    Args:
        name: what results, events and counts call it.
        source: gives the frames; the camera closes it.
        pool: runs them.
        look: how they are taken.
        publish: takes each result with its frame, one after the other in their order. The frame's
            pixels are only there during the call.
        on_event: told what a person may want to know.
        on_lost: told of each frame that is lost, with its stamp where it has one, and why.
        keep: whether `publish` wants the pixels as they were captured; else a guest may have
            written on them.
        ahead: frames that may be in a lane or published before `took` is called for each; 0 for
            any number. Who is slow to take results then holds up its own frames, and no lane.

    Attributes:
        ended: set when there is nothing more to come: all frames have ended in a count.
        crashed: it ended by a fault of ours.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        pool: Pool,
        look: Look,
        publish: Callable[[Frame, Result], None],
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        on_lost: Callable[[Stamp | None, Exception], None] = lambda stamp, exc: None,
        keep: bool = False,
        ahead: int = 0,
    ) -> None:
        self.name = name
        self.ended = threading.Event()
        self.crashed = False
        self._pool = pool
        self._source = source
        self._publish = publish
        self._on_event = on_event
        self._on_lost = on_lost
        self._keep = keep
        self._look = look
        self._pace = Pace(look.rate)
        self._account = Account()
        self._turns = Turns()
        self._buffers = Buffers()
        self._changed = threading.Condition()
        self._waiting: Taken | None = None
        self._ahead = ahead
        self._out = 0
        self._stopping = False
        self._shape: tuple[int, ...] = ()
        self._refused: tuple[object, InputError] | None = None
        self._told: dict[str, float] = {}
        self._thread = threading.Thread(target=self._main, name=f"{name}-capture", daemon=True)

    def start(self) -> None:
        """Begin to capture."""
        self._thread.start()

    @property
    def live(self) -> bool:
        """Whether its frames come at their own pace."""
        return self._source.live

    def counts(self) -> Counts:
        """What became of its frames so far."""
        return self._account.counts()

    def change(self, look: Look) -> None:
        """Take frames in another way from the next one on."""
        self._look = look
        self._pace.rate = look.rate

    def took(self) -> None:
        """Whoever `publish` told has dealt with a result."""
        with self._changed:
            self._out -= 1
            waits = self._waiting is not None
        if waits:
            self._pool.wait_in_line(self)

    def _may_go(self) -> bool:
        """Whether another frame may go into a lane; called under the lock, and it then goes."""
        if self._ahead and self._out >= self._ahead:
            return False
        self._out += 1
        return True

    def move(self, pool: Pool) -> None:
        """Let another pool run the frames from here on, also one that waits.

        Frames that are in a lane of the old pool are finished there; whoever owns it may close it.
        """
        old, self._pool = self._pool, pool
        if old is pool:
            return
        old.forget(self)
        with self._changed:
            waiting = self._waiting
        if waiting is None:
            return
        try:
            self._make_room(pool, waiting.part.shape)
            pool.wait_in_line(self)
        except InputError as exc:
            if self._withdraw(waiting):
                self._lose(waiting.stamp, "plan", "refused", exc)
                self._turns.leave(waiting.ticket)
                self._release(waiting)

    def slow_down(self, factor: float) -> None:
        """Do only this share of the work; 1 for all.

        Of a live source frames are left out. Any other rests between its frames, which are all
        wanted.
        """
        self._pace.factor = factor

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End it: frames in a lane are finished, one that waits is dropped.

        Args:
            timeout_s: how long to wait for that.

        Returns:
            Whether it came about in time.
        """
        with self._changed:
            self._stopping = True
            waiting, self._waiting = self._waiting, None
            self._changed.notify_all()
        if waiting is not None:
            self._account.drop(counts.SHUTDOWN)
            self._turns.leave(waiting.ticket)
        self._source.close()
        done = self.ended.wait(timeout_s)
        if done:
            self._pool.forget(self)
        return done

    # ---- capturing ----

    def _main(self) -> None:
        try:
            self._capture()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the other cameras go on
            self.crashed = True
            self._tell("crashed", f"capturing ended by a fault of ours: {exc!r}")
        finally:
            self._turns.wait_idle()
            self._source.close()
            self.ended.set()

    def _capture(self) -> None:
        while not self._stopping:
            try:
                stamp = self._source.grab()
            except SourceError as exc:
                if self._stopping:
                    return
                self._account.capture()
                self._lose(None, "source", "unreadable", exc)
                continue
            if stamp is None:
                return
            self._account.capture()
            look = self._look
            if not self._pace.due(stamp.captured_ns, eased=self._source.live):
                self._account.drop(counts.RATE)
            elif look.policy == "sample" and self._waiting is not None:
                self._account.drop(counts.BUSY)
            else:
                self._offer(stamp, look)
                if not self._source.live and (rest_ns := self._pace.rest_ns):
                    with self._changed:
                        self._changed.wait_for(lambda: self._stopping, rest_ns / 1e9)

    def _offer(self, stamp: Stamp, look: Look) -> None:
        """Bring a frame into a lane, or let it wait for one."""
        if look.policy == "block":
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is None or self._stopping)
        ticket = self._turns.draw()
        with self._accounted(stamp, ticket):
            held = self._free_lane(look)
            if held is not None:
                self._go_straight(held, stamp, look, ticket)
            else:
                into = self._buffers.take(self._shape) if self._shape else None
                self._line_up(Taken(stamp, self._pixels(into, stamp, look), look, ticket))

    @contextmanager
    def _accounted(self, stamp: Stamp, ticket: int) -> Iterator[None]:
        """A frame that does not get as far as a lane here is counted, and leaves."""
        try:
            yield
            return
        except SourceError as exc:
            if self._stopping:  # its source was closed before it could be retrieved
                self._account.drop(counts.SHUTDOWN)
            else:
                self._lose(stamp, "source", "unreadable", exc)
        except FrameError as exc:
            self._lose(stamp, exc.stage, exc.reason, exc)
        except InputError as exc:
            self._lose(stamp, "plan", "refused", exc)
        except BaseException:
            self._account.fail("source", "internal")
            self._turns.leave(ticket)
            raise
        self._turns.leave(ticket)

    def _free_lane(self, look: Look) -> Held | None:
        """A lane that the frame may be decoded into."""
        whole = look.roi is None and not self._keep
        if not whole or not self._shape or self._waiting is not None:
            return None
        with self._changed:
            if not self._may_go():
                return None
        held = self._pool.take(self, self._shape)
        if held is None:
            self._comes_to_nothing()
        return held

    def _comes_to_nothing(self) -> None:
        """A frame that was to go into a lane gives no result."""
        self.took()

    def _pixels(self, into: Image | None, stamp: Stamp, look: Look) -> Image:
        image = check_image(self._source.retrieve(into), stamp.name)
        self._shape = image.shape
        if look.paint is not None:
            if image is not into:  # it may be somebody else's, or not to be written on
                image = image.copy()
            look.paint(image)
        return image

    def _go_straight(self, held: Held, stamp: Stamp, look: Look, ticket: int) -> None:
        try:
            image = self._pixels(held.lane.room(self._shape), stamp, look)
        except BaseException:
            held.pool.give_back(held)
            self._comes_to_nothing()
            raise
        taken = Taken(stamp, image, look, ticket, straight=True)
        if held.lane.plan.fits(image.shape):
            held.pool.submit(held, partial(self._run, taken, held))
        else:  # the source has just changed its resolution
            held.pool.give_back(held)
            self._comes_to_nothing()
            self._line_up(taken)

    def _line_up(self, taken: Taken) -> None:
        """Let a frame wait for a lane, in the place of an older one."""
        while True:
            pool = self._pool
            self._make_room(pool, taken.part.shape)
            with self._changed:
                old, self._waiting = self._waiting, taken
                if self._stopping:
                    old, self._waiting = taken, None
            if old is not None:
                self._account.drop(counts.SHUTDOWN if old is taken else counts.STALE)
                self._turns.leave(old.ticket)
                self._release(old)
            if pool.wait_in_line(self) and pool is self._pool:
                return
            # The camera was moved while lanes were made; nobody else waits in the old line now.
            pool.forget(self)
            if not self._withdraw(taken):
                return

    def _make_room(self, pool: Pool, shape: tuple[int, ...]) -> None:
        """See to it that there are lanes; what a pipeline has refused it is not asked again."""
        key = (shape, pool.loaded)
        if self._refused is not None and self._refused[0] == key:
            raise self._refused[1]
        try:
            pool.make_room(shape[0], shape[1])
        except InputError as exc:
            self._refused = (key, exc)
            raise

    def _withdraw(self, taken: Taken) -> bool:
        """Let a frame no longer wait; whether it still did."""
        with self._changed:
            if self._waiting is not taken:
                return False
            self._waiting = None
            self._changed.notify_all()
            return True

    def _release(self, taken: Taken) -> None:
        if not taken.straight:
            self._buffers.give_back(taken.image)

    # ---- running ----

    def serve(self, held: Held) -> None:
        """Run the frame that waits, if one still does, on a lane."""
        with self._changed:
            if self._waiting is None or not self._may_go():
                return
            taken, self._waiting = self._waiting, None
            self._changed.notify_all()
        if held.lane.plan.fits(taken.part.shape):
            self._run(taken, held)
            return
        with self._accounted(taken.stamp, taken.ticket):
            self._release(taken)
            self._comes_to_nothing()
            height, width = taken.part.shape[:2]
            raise PlanError(
                f"{taken.stamp.name}: a frame of {width} x {height} came to lanes that were made"
                " for another camera's: this pipeline takes one size only, so give cameras of"
                " different sizes a [[pipeline]] each"
            )

    def _run(self, taken: Taken, held: Held) -> None:
        """Run a frame on a lane, and say what became of it."""
        stamp = taken.stamp
        self._pace.ran(stamp.captured_ns)
        published = False
        try:
            job = Job(
                stamp.sequence, stamp.captured_ns, held.memory, partial(self._turn, taken, held)
            )
            timings = held.lane.run(taken.part, job)
            frame = Frame(taken.image, stamp.sequence, stamp.captured_ns, stamp.name, stamp.wall_ns)
            result = held.generation.assembler.result(frame, held.lane, timings)
            if result.skipped:
                self._account.drop(counts.STILL)
                return
            with self._turns.at(_PUBLISH, taken.ticket):
                self._publish(frame, result.moved(*taken.corner))
            published = True
            self._account.process()
        except FrameError as exc:
            self._lose(stamp, exc.stage, exc.reason, exc)
        except Exception as exc:  # noqa: BLE001 - a fault of ours costs the frame, not the camera
            self._lose(stamp, "host", "internal", exc)
        finally:
            self._turns.leave(taken.ticket)
            self._release(taken)
            if not published or not self._ahead:
                self._comes_to_nothing()

    @contextmanager
    def _turn(self, taken: Taken, held: Held, stage: int) -> Iterator[None]:
        """A guest that remembers sees the frames in order, and forgets where they begin anew."""
        with self._turns.at((held.generation, stage), taken.ticket):
            if taken.stamp.restarted:
                held.memory.step(stage).reset()
            yield

    # ---- telling ----

    def _lose(self, stamp: Stamp | None, stage: str, reason: str, exc: Exception) -> None:
        self._account.fail(stage, reason)
        self._on_lost(stamp, exc)
        self._tell(reason, str(exc) if isinstance(exc, (FrameError, InputError)) else repr(exc))

    def _tell(self, kind: str, text: str) -> None:
        now = time.monotonic()
        if now - self._told.get(kind, -_SAME_S) >= _SAME_S:
            self._told[kind] = now
            self._on_event(Event(self.name, kind, text))
