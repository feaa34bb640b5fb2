"""The cheapest machines for a mix of requests, exactly, with requests split freely.

The peer (Griggs et al., Melange, 2024, arXiv 2404.14527) cuts every bucket of requests into
equal slices and assigns each slice whole. A router can split a bucket in any proportion, which
is both cheaper and far easier to solve: only the machine counts are integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.core.errors import InfeasibleError
from scheduler.core.provisioning import ProvisioningAnswer, ProvisioningCase
from scheduler.core.run import Status
from scheduler.solver.provisioning_search import cheapest_machines, without_dominated


@dataclass(slots=True)
class _Model:
    """The integer program and its variables."""

    solver: Any
    machines: list[list[Any]]
    share: list[list[list[Any | None]]]


def provision(
    case: ProvisioningCase, *, sliced: bool = False, time_limit_s: float | None = None
) -> ProvisioningAnswer:
    """Return the cheapest machines that serve every request of `case`.

    Parameters
    ----------
    case : ProvisioningCase
        Demand and offers.
    sliced : bool
        Cut each bucket into `case.slices` equal parts that are not split, as the peer does.
    time_limit_s : float or None
        Stop there with what was found (sliced problems can be hard).

    Raises
    ------
    InfeasibleError
        If no machine serves some bucket, or the supply does not suffice.
    """
    _check(case)
    if not sliced and len(case.hours) == 1:
        direct = _one_step(case)
        if direct is not None:
            return direct
    model = _build(case, sliced=sliced)
    if time_limit_s is not None:
        model.solver.SetTimeLimit(round(1000 * time_limit_s))
    found = _solve(model.solver)
    if found == model.solver.INFEASIBLE:
        limited = ", ".join(f"{o.name}: {o.supply}" for o in case.offers if o.supply is not None)
        raise InfeasibleError(f"{case.name}: the supply does not serve the demand ({limited})")
    if found not in (model.solver.OPTIMAL, model.solver.FEASIBLE):
        raise InfeasibleError(f"{case.name}: no answer within the time limit")
    status = Status.OPTIMAL if found == model.solver.OPTIMAL else Status.TIME_LIMIT
    return _answer(case, model, status, sliced=sliced)


def _one_step(case: ProvisioningCase) -> ProvisioningAnswer | None:
    """Return the proved answer of a case of one step, None where the search gives up."""
    fewer, left = without_dominated(case)
    found = cheapest_machines(fewer)
    if found is None:
        return None
    machines = np.zeros((1, len(case.offers)), dtype=np.int64)
    machines[0, left] = found.machines
    share = np.zeros((1, case.demand_per_s.shape[1], len(case.offers)))
    share[0][:, left] = found.share
    cost = cost_of(case, machines)
    return ProvisioningAnswer(machines, share, cost, cost, Status.OPTIMAL)


def _solve(solver: Any) -> int:
    """Solve to proved optimality: the library's default stops at a gap of 1e-4."""
    from ortools.linear_solver import pywraplp

    parameters = pywraplp.MPSolverParameters()
    parameters.SetDoubleParam(parameters.RELATIVE_MIP_GAP, 1e-9)
    return int(solver.Solve(parameters))


def cost_of(case: ProvisioningCase, machines: np.ndarray) -> float:
    """Return what `machines`, shape (steps, offers), cost over all steps."""
    price = np.array([o.usd_per_hour for o in case.offers])
    started = np.diff(machines, axis=0, prepend=0).clip(min=0)
    hours = np.array(case.hours)[:, None] * machines + case.start_hours * started
    return math.fsum((hours * price).ravel().tolist())


def _check(case: ProvisioningCase) -> None:
    able = np.array([o.requests_per_s for o in case.offers]) > 0
    lost = np.nonzero(case.demand_per_s.any(axis=0) & ~able.any(axis=0))[0]
    if len(lost):
        buckets = ", ".join(str(b) for b in lost.tolist())
        raise InfeasibleError(f"{case.name}: no offer serves the requests of bucket {buckets}")


def _build(case: ProvisioningCase, *, sliced: bool) -> _Model:
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("CBC")
    infinity = solver.infinity()
    goal = solver.Objective()
    goal.SetMinimization()
    machines: list[list[Any]] = []
    shares: list[list[list[Any | None]]] = []
    for t, hours in enumerate(case.hours):
        row, rooms = [], []
        for g, offer in enumerate(case.offers):
            most = infinity if offer.supply is None else offer.supply
            count = solver.IntVar(0, most, "")
            goal.SetCoefficient(count, offer.usd_per_hour * hours)
            if case.start_hours > 0:
                _starts(solver, case, offer.usd_per_hour, count, machines[-1][g] if t else None)
            room = solver.Constraint(-infinity, 0)
            room.SetCoefficient(count, -1)
            row.append(count)
            rooms.append(room)
        machines.append(row)
        shares.append([
            _bucket(solver, case, rooms, t, b, sliced=sliced)
            for b in range(case.demand_per_s.shape[1])
        ])  # fmt: skip
    return _Model(solver, machines, shares)


def _starts(solver: Any, case: ProvisioningCase, price: float, count: Any, before: Any) -> None:
    """Charge for the machines that a step has more than the step before."""
    started = solver.NumVar(0, solver.infinity(), "")
    solver.Objective().SetCoefficient(started, price * case.start_hours)
    rule = solver.Constraint(0, solver.infinity())
    rule.SetCoefficient(started, 1)
    rule.SetCoefficient(count, -1)
    if before is not None:
        rule.SetCoefficient(before, 1)


def _bucket(
    solver: Any, case: ProvisioningCase, rooms: list[Any], t: int, b: int, *, sliced: bool
) -> list[Any | None]:
    """Add the shares of one bucket, in slices where `sliced`; None where a type cannot serve."""
    rate = float(case.demand_per_s[t, b])
    if rate <= 0:
        return [None] * len(case.offers)
    parts = case.slices if sliced else 1
    served = solver.Constraint(parts, parts)
    found: list[Any | None] = []
    for offer, room in zip(case.offers, rooms, strict=True):
        able = float(offer.requests_per_s[b])
        if able <= 0:
            found.append(None)
            continue
        share = solver.IntVar(0, parts, "") if sliced else solver.NumVar(0, parts, "")
        served.SetCoefficient(share, 1)
        room.SetCoefficient(share, rate / parts / able)
        found.append(share)
    return found


def _answer(
    case: ProvisioningCase, model: _Model, status: Status, *, sliced: bool
) -> ProvisioningAnswer:
    steps, buckets = case.demand_per_s.shape
    parts = case.slices if sliced else 1
    share = np.zeros((steps, buckets, len(case.offers)))
    for t, row in enumerate(model.share):
        for b, variables in enumerate(row):
            for g, variable in enumerate(variables):
                if variable is not None:
                    value = max(0.0, variable.solution_value()) / parts
                    share[t, b, g] = round(value * parts) / parts if sliced else value
            total = share[t, b].sum()
            if total > 0:
                share[t, b] /= total
    counts = [[round(v.solution_value()) for v in row] for row in model.machines]
    machines = np.array(counts, dtype=np.int64)
    cost = cost_of(case, machines)
    bound = min(cost, model.solver.Objective().BestBound())
    return ProvisioningAnswer(machines, share, cost, bound, status)
