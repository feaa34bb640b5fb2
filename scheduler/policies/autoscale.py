"""Replicas that follow the demand curve, ahead of it by the load time."""

from __future__ import annotations

from scheduler.core.units import us_from_s
from scheduler.policies.present import ServiceNow
from scheduler.policies.provision import firm_per_s, lacking, needed_capacity, top_up
from scheduler.policies.view import View

KEEP_S = 600.0
"""A replica stops only when it is not needed for this long: hysteresis."""


class Autoscale:
    """Keep each service at the capacity its demand asks for, loading included.

    Capacity is started one load time before the curve asks for it, and stopped when the
    curve does not ask for it within `KEEP_S` either. The curve is the forecast, which every
    policy knows alike. Where there is no room, training gives way: the jobs with the most
    left to do, which lose least by waiting.
    """

    def provision(self, view: View) -> None:
        """Stop the replicas that are not needed, start those that will be."""
        for index, state in enumerate(view.services):
            if state.ended:
                continue
            ahead_us = us_from_s(state.service.load_s)
            horizon_us = max(ahead_us, us_from_s(KEEP_S))
            now = view.now_us
            self._shrink(
                view, index, state, needed_capacity(view, index, state, now, now + horizon_us)
            )
            target = needed_capacity(view, index, state, now, now + ahead_us)
            top_up(view, index, state, target, "best")
            while lacking(view, index, state, target) and make_room(view, index):
                top_up(view, index, state, target, "best")
            self._wake(view, state, ahead_us, horizon_us)

    def _shrink(self, view: View, index: int, state: ServiceNow, keep_per_s: float) -> None:
        mine = [(n, r) for n, r in view.replicas.items() if r.service == index]
        left = len(mine)
        # the least efficient and youngest go first
        for number, _ in sorted(mine, key=lambda e: (-e[1].mode, -e[0])):
            spare = firm_per_s(view, index, state, number) >= keep_per_s
            if left <= state.service.min_replicas or not spare:
                continue
            view.stop_replica(number)
            left -= 1

    def _wake(self, view: View, state: ServiceNow, ahead_us: int, horizon_us: int) -> None:
        for at_us in state.times_us:
            for lead_us in (ahead_us, horizon_us):
                if at_us - lead_us > view.now_us:
                    view.wake_at(at_us - lead_us)


def make_room(view: View, index: int) -> bool:
    """Preempt jobs until a mode of the service fits, best first; False if none can be made to."""
    for m, mode in enumerate(view.problem.service_modes[index]):
        if not view.permits_replica(index, m):
            continue  # its tenant's quota is spent, whoever gives way
        types = {g.type_index for g in mode.groups}
        then = view.occupancy.copy()
        layout = then.layout
        victims = [
            (view.remaining_s(job), job)
            for job, running in view.running.items()
            if view.preemptible(job)
            and any(layout.pool_type[layout.node_pool[n]] in types for n in running.placement.nodes)
        ]
        chosen = []
        for _, job in sorted(victims, reverse=True):
            then.give(view.running[job].placement)
            chosen.append(job)
            if then.find(mode) is not None:
                for victim in chosen:
                    view.stop(victim)
                return view.place_replica(index, m) is not None
    return False
