"""Ray's workers: of this machine, or of a cluster that is there already.

Each group's problem goes into the object store once. Tasks are not retried by Ray but by the
sweep, which counts attempts by cell and does not let one bad cell drag its batch down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from scheduler.core.sweep import Limits
from scheduler.execute import on_ray
from scheduler.execute.cell import ExecutionError
from scheduler.execute.sweep.crew import Batch, Report
from scheduler.execute.sweep.grid import Group
from scheduler.execute.sweep.guard import Outcome, Task, run_tasks

_LOOK_AGAIN_S: Final = 5.0
"""How often the size of the cluster is asked for: nodes come and go."""

_SPARE: Final = 8
"""Batches that wait on Ray, besides a quarter of the workers."""


class RayCrew:
    """A crew of Ray workers, one core each.

    Parameters
    ----------
    groups : sequence of Group
        What batches refer to.
    limits : Limits
        Of each cell.
    address : str or None
        As in `scheduler.execute.on_ray.stream`.

    Raises
    ------
    InputError
        There is no cluster at `address`, or this process cannot join it.
    ExecutionError
        A local Ray does not start.
    """

    def __init__(
        self, groups: Sequence[Group], limits: Limits, *, address: str | None = None
    ) -> None:
        self._groups = groups
        self._limits = limits
        jobs = [len(group.problem.workload.jobs) for group in groups]
        store_bytes = on_ray.STORE_BYTES + on_ray.STORE_BYTES_PER_JOB * sum(jobs)
        self._ray, joined = on_ray.connect(address, store_bytes)
        claim = on_ray.WORKER_BYTES + on_ray.WORKER_BYTES_PER_JOB * max(jobs, default=0)
        self._task = self._ray.remote(on_ray.shipped(play_batch, joined=joined)).options(
            num_cpus=1, max_retries=0, memory=min(claim, on_ray.largest_node_bytes(self._ray))
        )
        self._shared: dict[int, Any] = {}
        self._flying: dict[Any, int] = {}
        self._workers = 0
        self._looked_s = float("-inf")

    def workers(self) -> int:
        """Return the number of cores in the cluster."""
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_AGAIN_S:
            self._workers = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            self._looked_s = now_s
        return self._workers

    def room(self) -> int:
        """Return how many batches may be handed over: one more for each worker, within reason.

        Workers that end at the same time then need not wait for the driver, and what waits
        tells an autoscaling cluster to grow.
        """
        size = self.workers()
        return size + min(size, size // 4 + _SPARE) - len(self._flying)

    def submit(self, batch: Batch) -> None:
        """Start a task."""
        shared = self._shared.get(batch.group)
        if shared is None:
            group = self._groups[batch.group]
            shared = self._ray.put((group.problem, group.settings))
            self._shared[batch.group] = shared
        self._flying[self._task.remote([shared], batch.tasks, self._limits)] = batch.number

    def wait(self, seconds: float) -> list[Report]:
        """Return what has come back within `seconds`.

        Raises
        ------
        ExecutionError
            Ray itself is gone, or its machines lack what a cell needs.
        """
        flying = list(self._flying)
        if not flying:
            return []
        done, _ = self._ray.wait(flying, num_returns=1, timeout=seconds)
        if done:  # take whatever else is there too
            done, _ = self._ray.wait(flying, num_returns=len(flying), timeout=0)
        return [self._receive(reference) for reference in done]

    def close(self) -> None:
        """Cancel what still runs; a local Ray stays up until the process ends."""
        for reference in self._flying:
            self._ray.cancel(reference, force=True)
        self._flying.clear()
        self._shared.clear()

    def _receive(self, reference: Any) -> Report:
        number = self._flying.pop(reference)
        errors = self._ray.exceptions
        try:
            return Report(number, tuple(self._ray.get(reference)))
        except errors.OutOfMemoryError:
            return Report(number, (), "its worker ran out of memory")
        except (errors.NodeDiedError, errors.ObjectLostError, errors.OwnerDiedError):
            return Report(number, (), "its machine was lost", blameless=True)
        except (errors.WorkerCrashedError, errors.LocalRayletDiedError) as error:
            return Report(number, (), f"its worker was lost ({type(error).__name__})")
        except errors.RayTaskError as error:  # our own code failed there, which no cell can do
            raise on_ray.unwrapped(error) from None
        except errors.RayError as error:
            raise ExecutionError(f"Ray failed: {on_ray.reason(error)}") from error


def play_batch(held: Sequence[Any], tasks: Sequence[Task], limits: Limits) -> list[Outcome]:
    """Play a batch inside a Ray worker; `held` refers to the problem and the settings."""
    problem, settings = on_ray.unpacked(held)
    return run_tasks(problem, settings, tasks, limits)
