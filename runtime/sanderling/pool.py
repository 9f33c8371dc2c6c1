"""The lanes of a pipeline, shared by all cameras that run it.

A lane that is free goes to the camera that has waited longest; a camera waits in the queue once,
however many frames it has, so that a fast one does not crowd a slow one out. A pipeline is
replaced without losing a frame: new lanes are built beside the old ones, and frames in flight end
where they are.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from sanderling import plan as planning
from sanderling.assembler import Assembler
from sanderling.lane import Lane, Trace
from sanderling.memory import Memory
from sanderling.modelthreads import ModelThreads, RunModel, holding
from sanderling.stages import Stages

Mode = Literal["latency", "throughput"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a pipeline uses the cores.

    Attributes:
        lanes: frames that may be in flight at a time.
        threads: threads that one run of a model may use; 0 for one a core.
        models: runs of a model at a time; 0 for as many as there are lanes.
    """

    lanes: int = 1
    threads: int = 0
    models: int = 0


LANES_AHEAD = 2
"""Lanes whose guests run while the models of others do: one before its model, one behind it."""


def layout(mode: Mode, cores: int, *, lanes: int = 0, threads: int = 0) -> Layout:
    """The layout of a mode.

    `latency` gives one frame all cores. `throughput` runs a model on one core each, as many at a
    time as there are cores, each on a thread of its own; there are `LANES_AHEAD` lanes more than
    models, so that the next frame is ready whenever a model is.

    Args:
        mode: what matters.
        cores: that may be used.
        lanes: frames in flight, in place of what the mode has; 0 to leave it.
        threads: of one run of a model, likewise.
    """
    if mode == "latency":
        return Layout(lanes or 1, threads or cores)
    threads = threads or 1
    models = max(1, cores // threads)
    return Layout(lanes or models + LANES_AHEAD, threads, models)


class Customer(Protocol):
    """A camera, as the pool sees it."""

    def serve(self, held: Held) -> None:
        """Run the frame that waits, if one still does, on a lane."""


@dataclass(eq=False)
class Generation:
    """The lanes of one version of a pipeline, for frames of up to one size.

    Attributes:
        loaded: the pipeline.
        lanes: all of them.
        assembler: makes results of what they hand out.
        size: height and width of the greatest frame.
        stateful: the stages with guests that remember.
        in_use: lanes that have a frame.
        retired: a newer generation has taken over.
    """

    loaded: Stages
    lanes: list[Lane]
    assembler: Assembler
    size: tuple[int, int]
    stateful: frozenset[int]
    in_use: int = 0
    retired: bool = False
    memories: dict[Customer, Memory] = field(default_factory=dict)

    def memory(self, customer: Customer) -> Memory:
        """What the guests remember of a camera; called under the pool's lock."""
        if customer not in self.memories:
            self.memories[customer] = Memory(self.lanes[0].plan)
        return self.memories[customer]

    def close(self) -> None:
        """Give everything back."""
        for memory in self.memories.values():
            memory.close()
        self.memories.clear()
        for lane in self.lanes:
            lane.close()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Another version of a pipeline, ready to take over.

    Attributes:
        loaded: the pipeline.
        generation: its lanes; None while no frame has come yet, whose size says what they need.
    """

    loaded: Stages
    generation: Generation | None

    def discard(self) -> None:
        """It does not take over."""
        if self.generation is not None:
            self.generation.close()


@dataclass(slots=True, eq=False)
class Held:
    """A lane that a camera has for one frame.

    Attributes:
        pool: whose lane it is.
        lane: the lane.
        generation: what it belongs to.
        memory: what the guests remember of this camera.
        customer: the camera.
    """

    pool: Pool
    lane: Lane
    generation: Generation
    memory: Memory
    customer: Customer


class Pool:
    """The lanes of one pipeline, and the threads that run them.

    Args:
        name: what events and traces call it.
        loaded: the pipeline; the pool owns it.
        layout: how it uses the cores.
        trace: makes what is told of each stage of a lane, by the lane's number.
        share: held while a model runs, where pools share the cores.
    """

    def __init__(
        self,
        name: str,
        loaded: Stages,
        layout: Layout,
        trace: Callable[[str, int], Trace] | None = None,
        share: AbstractContextManager[object] | None = None,
    ) -> None:
        self.name = name
        self.loaded = loaded
        self.layout = layout
        self._trace = trace
        self._share = share
        self._models = (
            ModelThreads(layout.models, name, share) if 0 < layout.models < layout.lanes else None
        )
        self._changed = threading.Condition()
        self._build = threading.Lock()
        self._now: Generation | None = None
        self._old: list[Generation] = []
        self._idle: list[Lane] = []
        self._waiting: deque[Customer] = deque()
        self._ready: deque[tuple[Held, Callable[[], None]]] = deque()
        self._began: dict[Held, float] = {}
        self._held: Counter[Customer] = Counter()
        self._leaving: set[Customer] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-lane-{number}", daemon=True)
            for number in range(layout.lanes)
        ]
        for thread in self._threads:
            thread.start()

    # ---- lanes ----

    def make_room(self, height: int, width: int) -> None:
        """See to it that there are lanes for frames of this size.

        Where there are none the caller builds them, which takes as long as opening a pipeline;
        others go on with the old ones meanwhile.

        Raises:
            InputError: the pipeline cannot take such frames.
        """
        if (now := self._now) is not None and now.lanes[0].plan.fits((height, width, 3)):
            return
        with self._build:
            now = self._now
            if now is not None and now.lanes[0].plan.fits((height, width, 3)):
                return
            if self._closed:
                return  # `wait_in_line` says so
            if now is not None and not now.lanes[0].plan.exact:
                height, width = max(height, now.size[0]), max(width, now.size[1])
            self._take_over(self._generation(self.loaded, height, width))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the frames that there are lanes for; None before the first."""
        return self._now.size if self._now is not None else None

    def prepare(self, loaded: Stages) -> Prepared:
        """Build lanes for another version of the pipeline, beside those that run.

        Raises:
            InputError: it cannot take the frames that there are; the old one goes on.
        """
        with self._build:
            size = self._now.size if self._now is not None else None
        return Prepared(loaded, self._generation(loaded, *size) if size is not None else None)

    def replace(self, prepared: Prepared) -> None:
        """Go over to what was prepared, between two frames."""
        with self._build:
            self.loaded = prepared.loaded
            generation, now = prepared.generation, self._now
            if now is not None and (generation is None or generation.size != now.size):
                # A larger frame came since.
                if generation is not None:
                    generation.close()
                generation = self._generation(prepared.loaded, *now.size)
            if generation is not None:
                self._take_over(generation)

    def _entrance(self) -> RunModel | None:
        """Where a lane runs its models."""
        if self._models is not None:
            return self._models.entrance()
        return holding(self._share) if self._share is not None else None

    def _generation(self, loaded: Stages, height: int, width: int) -> Generation:
        lanes: list[Lane] = []
        try:
            for number in range(self.layout.lanes):
                trace = self._trace(self.name, number) if self._trace else None
                plan = planning.make(loaded, height, width)
                lanes.append(Lane(plan, run_model=self._entrance(), trace=trace))
        except BaseException:
            for lane in lanes:
                lane.close()
            raise
        plan = lanes[0].plan
        stateful = frozenset(index for index, one in enumerate(plan.stages) if one.stateful)
        return Generation(loaded, lanes, Assembler(loaded, plan), (height, width), stateful)

    def _take_over(self, generation: Generation) -> None:
        with self._changed:
            old, self._now = self._now, generation
            if old is not None:
                old.retired = True
                self._old.append(old)
            self._idle = list(generation.lanes)
            self._serve()
            done = self._over()
        for one in done:
            one.close()

    def _over(self) -> list[Generation]:
        """The retired generations that nobody uses any more; called under the lock."""
        done = [one for one in self._old if not one.in_use]
        self._old = [one for one in self._old if one.in_use]
        return done

    # ---- turns ----

    @property
    def _busy(self) -> bool:
        return any(one.in_use for one in (self._now, *self._old) if one is not None)

    def take(self, customer: Customer, shape: tuple[int, ...]) -> Held | None:
        """A lane for a frame of this shape now, if one is free and nobody has waited for it."""
        with self._changed:
            if self._closed or self._waiting or not self._idle or self._now is None:
                return None
            if not self._now.lanes[0].plan.fits(shape):
                return None
            return self._hold(customer)

    def _hold(self, customer: Customer) -> Held:
        assert self._now is not None
        self._now.in_use += 1
        self._held[customer] += 1
        self._leaving.discard(customer)
        return Held(self, self._idle.pop(), self._now, self._now.memory(customer), customer)

    def give_back(self, held: Held) -> None:
        """The lane's frame is done."""
        generation = held.generation
        with self._changed:
            generation.in_use -= 1
            self._began.pop(held, None)
            memories = self._let_go(held.customer)
            done = []
            if generation.retired:
                done = self._over()
            else:
                self._idle.append(held.lane)
                self._serve()
            self._changed.notify_all()
        for memory in memories:
            memory.close()
        for one in done:
            one.close()

    def _let_go(self, customer: Customer) -> list[Memory]:
        """A frame of this camera is done; what its guests remember, if it was its last one here."""
        self._held[customer] -= 1
        if self._held[customer]:
            return []
        del self._held[customer]
        if customer not in self._leaving:
            return []
        self._leaving.discard(customer)
        return self._memories(customer)

    def _memories(self, customer: Customer) -> list[Memory]:
        """What the guests remember of a camera, taken out; called under the lock."""
        generations = [one for one in (self._now, *self._old) if one is not None]
        found = [one.memories.pop(customer, None) for one in generations]
        return [memory for memory in found if memory is not None]

    def wait_in_line(self, customer: Customer) -> bool:
        """The camera has a frame waiting: its turn comes when a lane is free.

        Returns:
            False when the pool was closed meanwhile: then it never comes.
        """
        with self._changed:
            if self._closed:
                return False
            if customer not in self._waiting:
                self._waiting.append(customer)
            self._serve()
            return True

    def _serve(self) -> None:
        """Give free lanes to those who wait; called under the lock."""
        while self._idle and self._waiting and self._now is not None:
            customer = self._waiting.popleft()
            held = self._hold(customer)
            self._ready.append((held, partial(customer.serve, held)))
            self._changed.notify()

    def submit(self, held: Held, work: Callable[[], None]) -> None:
        """Let a thread of the pool run the frame that is in this lane already."""
        with self._changed:
            self._ready.append((held, work))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._closed)
                if not self._ready:
                    return
                held, work = self._ready.popleft()
                self._began[held] = time.monotonic()
            try:
                work()
            finally:
                self.give_back(held)

    def forget(self, customer: Customer) -> None:
        """A camera has gone, to another pool perhaps; frames of it in flight are finished here."""
        memories: list[Memory] = []
        with self._changed:
            if customer in self._waiting:
                self._waiting.remove(customer)
            if customer in self._held:
                self._leaving.add(customer)
            else:
                memories = self._memories(customer)
            self._changed.notify_all()
        for memory in memories:
            memory.close()

    def longest_s(self) -> float:
        """How long the frame that is in a lane longest has been there, in seconds; 0 for none."""
        with self._changed:
            began = list(self._began.values())
        return time.monotonic() - min(began) if began else 0.0

    def close(self) -> None:
        """End the threads and give everything back; no camera brings any more frames.

        Frames that wait or are in flight are finished first.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._ready and not self._busy)
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        with self._build:  # a camera that has just been moved away may be building still
            for generation in (self._now, *self._old):
                if generation is not None:
                    generation.close()
            self._now, self._old, self._idle = None, [], []
        if self._models is not None:
            self._models.close()
