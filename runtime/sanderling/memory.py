"""The guests of one camera that remember earlier frames, such as a tracker or a motion gate.

Lanes are shared by many cameras; what a guest remembers is not. So each camera has its own instance
of each such guest, and a lane that has a frame of this camera in flight copies its tensors there
and back (docs/adr/0007-a-memory-for-each-camera.md).
"""

from __future__ import annotations

from sanderling.plan import Plan
from sanderling.step import Step


class Memory:
    """One camera's instances of the stateful guests of a plan.

    Args:
        plan: the plan; instances are made when they are first needed.
    """

    def __init__(self, plan: Plan) -> None:
        self._steps = {
            index: stage.step.clone()
            for index, stage in enumerate(plan.stages)
            if stage.step is not None and stage.stateful
        }

    def step(self, stage: int) -> Step:
        """The guest of a stage."""
        return self._steps[stage]

    def reset(self) -> None:
        """A new source begins: they forget."""
        for step in self._steps.values():
            step.reset()

    def close(self) -> None:
        """Give every instance back."""
        for step in self._steps.values():
            step.close()
