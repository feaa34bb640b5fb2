"""Jobs that may start only after others have finished."""

from __future__ import annotations

from collections.abc import Sequence


class Dependencies:
    """Who still waits for whom.

    Parameters
    ----------
    after : sequence of tuple of int
        By job, the jobs that must finish first.
    """

    def __init__(self, after: Sequence[tuple[int, ...]]) -> None:
        self._unmet = [len(set(needed)) for needed in after]
        self._released = [False] * len(after)
        self._lost = [False] * len(after)
        self._dependents: dict[int, list[int]] = {}
        for job, needed in enumerate(after):
            for other in sorted(set(needed)):
                self._dependents.setdefault(other, []).append(job)

    def release(self, job: int) -> bool:
        """Note that `job` is released; return whether it may start."""
        self._released[job] = True
        return not self._unmet[job] and not self._lost[job]

    def finish(self, job: int) -> list[int]:
        """Note that `job` finished; return the released jobs that waited for nothing else."""
        ready = []
        for other in self._dependents.get(job, ()):
            self._unmet[other] -= 1
            if not self._unmet[other] and self._released[other] and not self._lost[other]:
                ready.append(other)
        return ready

    def lose(self, job: int) -> list[tuple[int, int]]:
        """Note that `job` will never finish; return who never can now, and for want of whom."""
        lost = []
        beyond = [job]
        while beyond:
            needed = beyond.pop()
            for other in self._dependents.get(needed, ()):
                if not self._lost[other]:
                    self._lost[other] = True
                    lost.append((other, needed))
                    beyond.append(other)
        return lost
