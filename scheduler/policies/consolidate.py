"""Moves gangs that are spread over nodes into one, where that pays for the restarts.

A gang that started while the free accelerators lay apart stays slow for as long as it runs.
Where a faster mode has become free, it moves there; else smaller jobs on one node change places
with it, each to where the gang was.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Mode
from scheduler.core.run import Placement
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.view import View

EVERY_S = 60.0
"""Least time between two looks at the fleet."""

MARGIN = 2.0
"""Accelerator-seconds won for each that the restarts cost, at least."""

Start = tuple[int, int, Placement]
"""A job, a mode of it, and where."""


class Consolidation:
    """Looks at the gangs that run slower than they could, those first that lose most."""

    def __init__(self) -> None:
        self._next_us = 0

    def tidy(self, view: View) -> None:
        """Move what is worth moving, at most once per `EVERY_S`."""
        if view.now_us < self._next_us:
            return
        self._next_us = view.now_us + us_from_s(EVERY_S)
        slow = []
        for job, running in view.running.items():
            mode = view.modes(job)[running.mode]
            if mode.rate < _fastest(view, job, mode.count) and view.preemptible(job):
                slow.append((-_loss_s(view, job), job))
        if not slow:
            return
        on_node = _singles(view)
        for _, job in sorted(slow):
            found = self._better(view, job, on_node)
            if found is None:
                continue
            for moved, _, _ in found:
                view.stop(moved)
            for start in found:
                view.start(*start)
            on_node = _singles(view)

    def _better(self, view: View, job: int, on_node: Mapping[int, list[int]]) -> list[Start] | None:
        """Return the starts that serve the job faster, the job's own first, if they pay."""
        running = view.running[job]
        modes = view.modes(job)
        now = modes[running.mode]
        left_s = view.run_s(job, running.mode) - view.restart_us(job) / US_PER_S
        then: Occupancy = view.occupancy.copy()
        then.give(running.placement)
        tried: set[tuple[int, int]] = set()
        for index, mode in enumerate(modes):
            if mode.count != now.count or mode.rate <= now.rate:
                continue
            gain = now.count * left_s * (1 - now.rate / mode.rate)
            restart = MARGIN * now.count * view.restart_us(job) / US_PER_S
            if gain <= restart:
                continue
            placement = view.place_job(job, index, "best", then)
            if placement is not None:
                return [(job, index, placement)]
            key = (mode.groups[0].type_index, mode.level)
            if mode.level == 0 and key not in tried and not view.restricted:
                tried.add(key)
                found = _swap(view, (job, index, mode), then, on_node, gain - restart)
                if found is not None:
                    return found
        return None


def _fastest(view: View, job: int, count: int) -> float:
    return max(m.rate for m in view.modes(job) if m.count == count)


def _loss_s(view: View, job: int) -> float:
    """Return the accelerator-seconds that a job loses by the mode it runs in."""
    now = view.modes(job)[view.running[job].mode]
    left_s = view.run_s(job, view.running[job].mode)
    return now.count * left_s * (1 - now.rate / _fastest(view, job, now.count))


def _singles(view: View) -> dict[int, list[int]]:
    """Return, by node, the jobs that run there alone and may be stopped, smallest first."""
    found: dict[int, list[int]] = {}
    for job, running in view.running.items():
        if len(running.placement.nodes) == 1 and view.preemptible(job):
            found.setdefault(running.placement.nodes[0], []).append(job)
    for jobs in found.values():
        jobs.sort(key=lambda j: (view.running[j].placement.counts[0], j))
    return found


def _swap(
    view: View,
    wanted: tuple[int, int, Mode],
    then: Occupancy,
    on_node: Mapping[int, list[int]],
    worth: float,
) -> list[Start] | None:
    """Return starts of the gang on one node and of that node's jobs elsewhere, cheapest first.

    `then` is the fleet without the gang.
    """
    job, index, mode = wanted
    layout = then.layout
    best: tuple[float, int, list[int]] | None = None
    for pool in layout.type_pools[mode.groups[0].type_index]:
        for node in layout.pool_nodes[pool]:
            free, leave, cost = then.free[node], [], 0.0
            for other in on_node.get(node, ()):
                count = view.running[other].placement.counts[0]
                if free >= mode.count or count >= mode.count:
                    break
                free += count
                cost += MARGIN * count * view.restart_us(other) / US_PER_S
                leave.append(other)
            if free >= mode.count and cost < worth and (best is None or cost < best[0]):
                best = cost, node, leave
    if best is None:
        return None
    trial = then.copy()
    for other in best[2]:
        trial.give(view.running[other].placement)
    placement = layout.single(best[1], mode.count)
    trial.take(placement)
    starts: list[Start] = [(job, index, placement)]
    for other in best[2]:
        rate = view.modes(other)[view.running[other].mode].rate
        found = next(
            (
                (m, spot)
                for m, kind in enumerate(view.modes(other))
                if kind.rate >= rate * (1 - 1e-9)
                and kind.count == view.running[other].placement.counts[0]
                and (spot := view.place_job(other, m, "best", trial)) is not None
            ),
            None,
        )
        if found is None:
            return None
        trial.take(found[1])
        starts.append((other, *found))
    return starts
