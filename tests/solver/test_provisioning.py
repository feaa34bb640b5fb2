from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.errors import InfeasibleError
from scheduler.core.provisioning import Offer, ProvisioningCase
from scheduler.core.run import Status
from scheduler.solver.provisioning import cost_of, provision
from scheduler.solver.provisioning_search import CostLattice, cheapest_machines, without_dominated
from scheduler.verify.provisioning import verify_provisioning


def made_case(seed: int, *, buckets: int = 4, offers: int = 3) -> ProvisioningCase:
    rng = np.random.default_rng(seed)
    listed = tuple(
        Offer(
            f"type-{g}",
            round(float(rng.uniform(1, 5)), 2),
            np.where(rng.random(buckets) < 0.85, rng.uniform(0.5, 6, buckets), 0.0),
        )
        for g in range(offers)
    )
    anything = Offer("any", 6.0, rng.uniform(0.3, 1, buckets))
    demand = rng.uniform(0, 4, (1, buckets))
    return ProvisioningCase(f"made-{seed}", demand, (1.0,), (*listed, anything), slices=3)


def serves(case: ProvisioningCase, machines: tuple[int, ...]) -> bool:
    """Return whether the machines suffice, by a linear program of its own."""
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    loads: list[list[object]] = [[] for _ in case.offers]
    for b, rate in enumerate(case.demand_per_s[0].tolist()):
        shares = []
        for g, offer in enumerate(case.offers):
            if offer.requests_per_s[b] > 0:
                share = solver.NumVar(0, 1, "")
                shares.append(share)
                loads[g].append(share * (rate / float(offer.requests_per_s[b])))
        solver.Add(solver.Sum(shares) == 1)
    for load, count in zip(loads, machines, strict=True):
        if load:
            solver.Add(solver.Sum(load) <= count + 1e-9)
    return bool(solver.Solve() == solver.OPTIMAL)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_cheaper_serves(seed: int) -> None:
    case = made_case(seed, buckets=3, offers=2)
    answer = provision(case)
    assert answer.status is Status.OPTIMAL
    assert verify_provisioning(case, answer) == []
    most = [math.floor(answer.cost_usd / o.usd_per_hour) for o in case.offers]
    for machines in itertools.product(*(range(m + 1) for m in most)):
        if cost_of(case, np.array([machines])) < answer.cost_usd - 1e-6:
            assert not serves(case, machines)


@pytest.mark.parametrize("seed", range(8))
def test_two_solvers_agree(seed: int) -> None:
    """Our branch and bound on one step, and a general solver on a day of that step alone."""
    case = made_case(seed, buckets=8, offers=5)
    ours = provision(case)
    dear = replace(case, hours=(1.0, 1e-9), demand_per_s=np.vstack([case.demand_per_s] * 2))
    other = provision(dear)
    assert ours.cost_usd == pytest.approx(other.cost_usd, rel=1e-6)
    assert ours.bound_usd == pytest.approx(ours.cost_usd)


@pytest.mark.parametrize("seed", range(4))
def test_slices_only_cost_money(seed: int) -> None:
    case = made_case(seed)
    free, sliced = provision(case), provision(case, sliced=True)
    assert free.cost_usd <= sliced.cost_usd * (1 + 1e-9)
    assert verify_provisioning(case, sliced) == []
    thirds = sliced.share * case.slices
    assert np.allclose(thirds, np.round(thirds))


def test_supply_limits_are_kept_and_may_be_too_tight() -> None:
    slow, fast = Offer("slow", 1.0, np.array([1.0])), Offer("fast", 5.0, np.array([2.0]), 1)
    case = ProvisioningCase("supply", np.array([[4.0]]), (1.0,), (slow, fast))
    assert provision(case).machines.tolist() == [[4, 0]]
    limited = replace(case, offers=(replace(slow, supply=2), fast))
    answer = provision(limited)
    assert answer.machines.tolist() == [[2, 1]]
    assert verify_provisioning(limited, answer) == []
    none = replace(case, offers=(replace(slow, supply=1), fast))
    with pytest.raises(InfeasibleError, match="supply does not serve"):
        provision(none)
    nobody = replace(case, offers=(Offer("other", 1.0, np.array([0.0])),))
    with pytest.raises(InfeasibleError, match="bucket 0"):
        provision(nobody)


def test_a_start_is_paid_once_and_steps_share_machines() -> None:
    offer = Offer("one", 2.0, np.array([1.0]))
    demand = np.array([[1.0], [3.0], [1.0]])
    case = ProvisioningCase("steps", demand, (10.0, 1.0, 10.0), (offer,), start_hours=1.0)
    answer = provision(case)
    # 21 h of one machine, 1 h of two more; three starts of an hour each
    assert answer.machines[:, 0].tolist() == [1, 3, 1]
    assert answer.cost_usd == pytest.approx(2 * (21 + 2 + 3))
    assert verify_provisioning(case, answer) == []
    long = replace(case, hours=(1.0, 1.0, 0.2), demand_per_s=np.array([[2.0], [1.0], [2.0]]))
    kept = provision(replace(long, start_hours=5.0))
    assert kept.machines[:, 0].tolist() == [2, 2, 2]  # stopping for an hour costs a start


def test_dominated_offers_are_left_out() -> None:
    one = Offer("one", 1.0, np.array([2.0, 1.0]))
    twice = Offer("twice", 2.5, np.array([4.0, 2.0]))
    better = Offer("better", 2.5, np.array([4.0, 2.5]))
    case = ProvisioningCase("d", np.array([[1.0, 1.0]]), (1.0,), (one, twice, better))
    assert without_dominated(case)[1] == [0, 2]
    scarce = replace(case, offers=(replace(one, supply=5), twice, better))
    assert 1 not in without_dominated(scarce)[1]  # the better one at the same price replaces it
    alone = replace(case, offers=(replace(one, supply=5), twice))
    assert without_dominated(alone)[1] == [0, 1]


def test_costs_of_whole_machines() -> None:
    lattice = CostLattice([2.0, 5.0, 10.0], 40.0)
    reachable = {2 * a + 5 * b for a in range(30) for b in range(12)}
    for value in np.linspace(0, 38, 77).tolist():
        assert lattice.at_least(value) == pytest.approx(min(c for c in reachable if c >= value))


def test_no_demand_needs_no_machine() -> None:
    case = ProvisioningCase("idle", np.zeros((1, 1)), (1.0,), (Offer("a", 1.0, np.array([1.0])),))
    assert provision(case).cost_usd == 0.0
    assert cheapest_machines(case) is not None


def test_a_false_answer_is_refused() -> None:
    case = made_case(1)
    answer = provision(case)
    fewer = answer.machines.copy()
    fewer[0, int(fewer[0].argmax())] -= 1
    lost = answer.share.copy()
    lost[0, 0] = 0.0
    cheap = replace(answer, cost_usd=answer.cost_usd / 2)
    for damaged, code in (
        (replace(answer, machines=fewer), "load"),
        (replace(answer, share=lost), "served"),
        (cheap, "cost"),
        (cheap, "bound"),
    ):
        assert code in {v.code for v in verify_provisioning(case, damaged)}
