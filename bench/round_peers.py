"""The same rounds by OR-Tools alone: a variable per job and option, or per job and node."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from scheduler.solver.scale.columns import NODE, POD, Round


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What a peer found, and its seconds to build and to solve."""

    value: float
    build_s: float
    solve_s: float
    status: str


def whole_lp(
    round_: Round, solver_name: str = "GLOP", *, gap: float = 0.0, limit_s: float = 300.0
) -> PeerAnswer:
    """Solve one LP (SCIP: integer program) with a variable per option over counted slots.

    Rows: each job once; per type and slot size, and per type and gang size, what is counted:
    ``sum floor(n / s) <= sum floor(free / s)``.
    """
    from ortools.linear_solver import linear_solver_pb2, pywraplp

    start = time.perf_counter()
    options = round_.options
    integer = solver_name != "GLOP"
    model = linear_solver_pb2.MPModelProto(maximize=True)
    variable = linear_solver_pb2.MPVariableProto
    model.variable.extend(
        [
            variable(lower_bound=0.0, upper_bound=1.0, objective_coefficient=u, is_integer=integer)
            for u in options.utility.tolist()
        ]
    )
    row = linear_solver_pb2.MPConstraintProto
    first = options.first.tolist()
    for a, b in pairwise(first):
        model.constraint.append(
            row(var_index=range(a, b), coefficient=[1.0] * (b - a), upper_bound=1.0)
        )
    for index, coefficients, limit in counted_slots(round_):
        model.constraint.append(
            row(var_index=index.tolist(), coefficient=coefficients.tolist(), upper_bound=limit)
        )
    solver = pywraplp.Solver.CreateSolver(solver_name)
    solver.LoadModelFromProto(model)
    built = time.perf_counter()
    solver.SetTimeLimit(int(1000 * limit_s))
    parameters = pywraplp.MPSolverParameters()
    parameters.SetDoubleParam(pywraplp.MPSolverParameters.RELATIVE_MIP_GAP, gap)
    status = solver.Solve(parameters)
    done = time.perf_counter()
    names = {pywraplp.Solver.OPTIMAL: "optimal", pywraplp.Solver.FEASIBLE: "feasible"}
    found = status in names
    value = float(solver.Objective().Value()) if found else float("nan")
    return PeerAnswer(value, built - start, done - built, names.get(status, "none in time"))


def counted_slots(round_: Round) -> list[tuple[Any, Any, float]]:
    """Return the rows as (options, coefficients, limit)."""
    fleet, options = round_.fleet, round_.options
    rows = []
    nodes = options.count // fleet.node_size[options.type_index]
    for t in range(len(fleet.node_size)):
        size = int(fleet.node_size[t])
        mine = np.flatnonzero(options.type_index == t)
        free = fleet.node_free[fleet.node_type == t]
        pod = fleet.node_pod[(fleet.node_type == t) & (fleet.node_free == size)]
        whole = np.unique(pod, return_counts=True)[1]
        wide = options.level[mine] != NODE
        asked = np.where(wide, size, options.count[mine])
        for s in np.unique(asked).tolist():
            each = np.where(wide, nodes[mine] * (size // s), options.count[mine] // s)
            rows.append((mine[each > 0], each[each > 0], float((free // s).sum())))
        packed = mine[(options.level[mine] == POD) & (nodes[mine] > 1)]
        for k in np.unique(nodes[packed]).tolist():
            each = nodes[packed] // k
            rows.append((packed[each > 0], each[each > 0], float((whole // k).sum())))
    return rows


def by_node(round_: Round, *, deterministic_time: float, workers: int = 1) -> PeerAnswer:
    """Solve with CP-SAT and a variable per job, option and node."""
    from ortools.sat.python import cp_model

    start = time.perf_counter()
    fleet, options = round_.fleet, round_.options
    model = cp_model.CpModel()
    load: list[list[Any]] = [[] for _ in fleet.node_type]
    gain = []
    unit = float(options.utility.max(initial=1.0)) / 10**9
    first = options.first.tolist()
    for a, b in pairwise(first):
        starts = []
        for o in range(a, b):
            t, count = int(options.type_index[o]), int(options.count[o])
            size, level = int(fleet.node_size[t]), int(options.level[o])
            each = count if level == NODE else size
            fit = np.flatnonzero((fleet.node_type == t) & (fleet.node_free >= each))
            groups = (
                [fit]
                if level != POD
                else [fit[fleet.node_pod[fit] == p] for p in np.unique(fleet.node_pod[fit])]
            )
            for group in groups:
                if len(group) * each < count:
                    continue
                chosen = model.new_bool_var("")
                starts.append(chosen)
                gain.append((int(options.utility[o] / unit), float(options.utility[o]), chosen))
                on = [model.new_bool_var("") for _ in group]
                model.add(sum(on) == (count // each) * chosen)
                for n, x in zip(group.tolist(), on, strict=True):
                    load[n].append(each * x)
        model.add_at_most_one(starts)
    for n, terms in enumerate(load):
        model.add(sum(terms) <= int(fleet.node_free[n]))
    model.maximize(sum(g * x for g, _, x in gain))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = deterministic_time
    built = time.perf_counter()
    status = solver.solve(model)
    done = time.perf_counter()
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    value = sum(u for _, u, x in gain if solver.boolean_value(x)) if found else float("nan")
    return PeerAnswer(value, built - start, done - built, solver.status_name(status).lower())
