"""What a page draws follows from the run: sums give the run's own figures back."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_problems import fleet, random_problem

from scheduler.core.cluster import Cluster, Fabric, Node, Pod, Site
from scheduler.core.ledger import IDLE_CAUSES
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Placement, Run
from scheduler.core.units import US_PER_S
from scheduler.io.catalogue import accelerators
from scheduler.physics.interconnect import TIERS
from scheduler.report.page.bins import Bins, bins_for
from scheduler.report.page.blocks import largest_blocks
from scheduler.report.page.books import ledger_over_time, reconciled
from scheduler.report.page.details import (
    balances,
    bars,
    details_of,
    fleet_of,
    queue_over_time,
    rounds_of,
)
from scheduler.report.page.history import history_of
from scheduler.report.page.interconnect import Network
from scheduler.report.page.power import energy_over_time
from scheduler.simulate import simulate
from scheduler.verify.facts import Hold


@pytest.fixture(scope="module")
def small_run(small_problem: Problem) -> Run:
    return simulate(small_problem, "srtf", seed=1, noise_sigma=0.2)


def random_run(seed: int) -> tuple[Problem, Run]:
    rng = np.random.default_rng([seed, 5])
    problem = random_problem(rng)
    policy = ("fifo", "easy_backfill", "srtf")[seed % 3]
    account = "arrivals" if seed % 4 == 3 else "run"
    return problem, simulate(problem, policy, seed=seed, noise_sigma=0.3, account=account)


class TestBins:
    @given(
        st.lists(
            st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(-9, 9)), max_size=12
        ),
        st.integers(1, 900),
        st.integers(1, 4000),
    )
    def test_amounts_are_the_integrals(
        self, spans: list[tuple[int, int, int]], width: int, end: int
    ) -> None:
        bins = Bins(width * 1000, end * 1000)
        start = np.array([min(a, b) * 1000 for a, b, _ in spans], dtype=np.int64)
        stop = np.array([max(a, b) * 1000 for a, b, _ in spans], dtype=np.int64)
        rate = np.array([r for _, _, r in spans], dtype=np.float64)
        found = bins.amounts(start, stop, rate)[0]
        for b, (low, high) in enumerate(itertools.pairwise(bins.edges_us.tolist())):
            due = sum(
                r * max(0, min(e, high) - max(s, low))
                for s, e, r in zip(start.tolist(), stop.tolist(), rate.tolist(), strict=True)
            )
            assert found[b] == pytest.approx(due / US_PER_S, abs=1e-9)

    @pytest.mark.parametrize("hours", [0, 0.001, 0.2, 3, 12, 24, 240, 241, 3000, 100_000])
    def test_there_are_neither_too_few_nor_too_many(self, hours: float) -> None:
        bins = bins_for(round(hours * 3600 * US_PER_S))
        assert 1 <= bins.count <= 240
        if 12 <= hours <= 240:
            assert bins.width_us == 3600 * US_PER_S


class TestBooks:
    @pytest.mark.parametrize("seed", range(12))
    def test_the_hours_sum_to_the_ledger(self, seed: int) -> None:
        problem, run = random_run(seed)
        history = history_of(problem, run, run.ledger_end_us)
        bins = Bins(max(1, run.ledger_end_us // 7), run.ledger_end_us)
        by_pool = ledger_over_time(history, bins)
        assert balances(by_pool, run) < 1e-6
        capacity = np.array([len(p.nodes) * p.size for p in problem.pools])
        seconds = np.diff(bins.edges_us) / US_PER_S
        np.testing.assert_allclose(
            by_pool.sum(axis=1), capacity[:, None] * seconds, rtol=1e-6, atol=1e-3
        )
        assert by_pool.min() > -1e-6

    @pytest.mark.parametrize("seed", range(4))
    def test_hours_that_are_not_exact_are_brought_into_line(self, seed: int) -> None:
        problem, run = random_run(seed)
        bins = Bins(max(1, run.ledger_end_us // 7), run.ledger_end_us)
        exact = ledger_over_time(history_of(problem, run, run.ledger_end_us), bins)
        rng = np.random.default_rng(seed)
        wrong = exact * rng.uniform(0.7, 1.3, exact.shape)
        wrong *= exact.sum(axis=1, keepdims=True) / np.maximum(
            wrong.sum(axis=1, keepdims=True), 1e-12
        )
        assert balances(wrong, run) > 1e-3
        fitted = reconciled(wrong, run)
        assert balances(fitted, run) < 1e-4
        assert fitted.min() >= 0
        np.testing.assert_allclose(fitted.sum(axis=1), exact.sum(axis=1), rtol=1e-3, atol=1e-3)
        assert reconciled(exact, run) is exact

    @pytest.mark.parametrize("seed", range(8))
    def test_the_blocks_sum_to_the_idle_time(self, seed: int) -> None:
        problem, run = random_run(seed)
        history = history_of(problem, run, run.ledger_end_us)
        bins = bins_for(run.ledger_end_us)
        blocks = largest_blocks(history, bins, ledger_over_time(history, bins), most=10**9)
        idle_s = run.ledger.of(IDLE_CAUSES) / US_PER_S
        assert math.fsum(b.idle_s for b in blocks) == pytest.approx(idle_s, rel=1e-9, abs=1e-6)
        assert [b.idle_s for b in blocks] == sorted((b.idle_s for b in blocks), reverse=True)

    @pytest.mark.parametrize("seed", range(6))
    def test_energy_by_site_and_hour_sums_to_the_run(self, seed: int) -> None:
        problem, run = random_run(seed)
        history = history_of(problem, run)
        kwh, usd, co2_kg = energy_over_time(history, bins_for(run.horizon_us)).sum(axis=(1, 2))
        assert kwh * 3.6e6 == pytest.approx(run.energy_j, rel=1e-9)
        assert usd == pytest.approx(run.cost_usd, rel=1e-9)
        assert co2_kg * 1000 == pytest.approx(run.carbon_g, rel=1e-9)

    def test_energy_follows_the_tariff_of_the_hour_in_bins_longer_than_an_hour(
        self, small_problem: Problem, small_run: Run
    ) -> None:
        history = history_of(small_problem, small_run)
        hourly = energy_over_time(history, Bins(3600 * US_PER_S, small_run.horizon_us))
        longer = energy_over_time(history, Bins(3 * 3600 * US_PER_S, small_run.horizon_us))
        joined = np.add.reduceat(hourly, range(0, hourly.shape[2], 3), axis=2)
        np.testing.assert_allclose(longer, joined, rtol=1e-9, atol=1e-12)

    def test_the_queue_is_the_queueing_of_the_jobs(
        self, small_problem: Problem, small_run: Run
    ) -> None:
        fifo = simulate(small_problem, "fifo", seed=1, noise_sigma=0.2)  # never preempts
        bins = bins_for(fifo.horizon_us)
        seconds = np.diff(bins.edges_us) / US_PER_S
        queue = queue_over_time(history_of(small_problem, fifo), bins)
        waited_s = metrics_of(small_problem, fifo).mean_queueing_s * len(fifo.finished_us)
        assert float((queue["jobs"] * seconds).sum()) == pytest.approx(waited_s, rel=1e-9)


class TestColumns:
    def test_bars_hold_every_allocation(self, small_problem: Problem, small_run: Run) -> None:
        columns = bars(history_of(small_problem, small_run), small_run, 1000)
        start = np.cumsum(columns["start"]).tolist()
        found = []
        nodes, counts = iter(columns["nodes"]), iter(columns["counts"])
        for i, size in enumerate(columns["size"]):
            here = list(itertools.accumulate(next(nodes) for _ in range(size)))
            first = next(counts)
            each = [-first] * size if first < 0 else [first, *(next(counts) for _ in here[1:])]
            end = start[i] + columns["length"][i]
            found.append((columns["job"][i], start[i], end, tuple(here), tuple(each)))
        due = [
            (a.job, a.start_us // 1000, a.end_us // 1000, a.placement.nodes, a.placement.counts)
            for a in small_run.allocations
        ]
        assert sorted(found) == sorted(due)
        assert columns["ended"].count(0) == len(small_run.finished_us)

    def test_the_same_run_gives_the_same_data(self, small_problem: Problem, small_run: Run) -> None:
        first = details_of(small_problem, small_run).data
        assert first == details_of(small_problem, small_run).data
        assert first["balances"] < 1e-6

    def test_prices_are_means_of_hours_in_percent_of_the_highest(
        self, small_problem: Problem, small_run: Run
    ) -> None:
        hour_us = 3600 * US_PER_S
        run = replace(
            small_run,
            horizon_us=24 * hour_us,
            rounds={
                "at_s": (0.0, 1800.0, 7200.0),
                "gap": (0.5, math.inf, 0.0),
                f"price {small_problem.types[0]}": (4.0, 2.0, 1.0),
                f"price {small_problem.types[1]}": (0.0, 0.0, 3.0),
            },
        )
        found = rounds_of(small_problem, run, US_PER_S)
        assert found is not None
        assert found["at"] == [0, 1800, 7200]
        assert found["gap"] == [0.5, None, 0.0]
        first, second = found["prices"]
        assert first[:4] == pytest.approx([100.0, 66.67, 33.33, 33.33])  # of a mean of 3
        assert second[:4] == pytest.approx([0.0, 0.0, 100.0, 100.0])
        assert rounds_of(small_problem, small_run, US_PER_S) is None

    def test_rows_are_nested_domains(self, small_problem: Problem) -> None:
        drawn = fleet_of(small_problem, Network(small_problem.cluster))
        assert sorted(drawn["rows"]) == list(range(len(small_problem.cluster.nodes)))
        spans = [(first, last) for _, _, first, last in drawn["domains"]]
        for (a, b), (c, d) in itertools.combinations(spans, 2):
            assert b < c or d < a or (a <= c and d <= b) or (c <= a and b <= d)


def two_leaves(kind: str, taper: float) -> Cluster:
    """Four nodes of 8 with 50 GB/s each, two to a leaf."""
    name = "H100-SXM"
    nodes = tuple(Node(f"n{i}", name, 8, 450e9, 6.25e9) for i in range(4))
    fabric = Fabric(kind, nodes_per_leaf=2, taper=taper)  # type: ignore[arg-type]
    types = {name: accelerators()[name]}
    return Cluster("c", "", types, (Pod("p", "s", nodes, fabric),), (Site("s"),))


def hold(nodes: tuple[int, ...], counts: tuple[int, ...], mode: object) -> Hold:
    return Hold("j", 0, -1, mode, 0, 10, 0, 0, Placement(nodes, counts))  # type: ignore[arg-type]


class TestLinks:
    @pytest.mark.parametrize("kind", ["tree", "fat_tree", "rail"])
    @pytest.mark.parametrize("taper", [1.0, 4.0])
    def test_a_gang_over_two_leaves_loads_their_uplinks(self, kind: str, taper: float) -> None:
        """A ring of whole nodes leaves a leaf of two once: half its cards, times the taper."""
        network = Network(two_leaves(kind, taper))
        crossed = {
            network.trunks[number].name: sent / network.trunks[number].bytes_per_s
            for number, sent in network.crossed(hold((0, 1, 2, 3), (8, 8, 8, 8), None))
        }
        above = {n: load for n, load in crossed.items() if not n.startswith("n")}
        assert len(above) in (2, 4)  # a rail's leaves may have another layer above
        assert list(above.values()) == pytest.approx([taper / 2] * len(above))
        cards = [load for n, load in crossed.items() if n.startswith("n")]
        assert cards == pytest.approx([1.0] * 4)

    def test_a_gang_inside_a_leaf_stays_there(self) -> None:
        network = Network(two_leaves("fat_tree", 4.0))
        names = {network.trunks[t].name for t, _ in network.crossed(hold((0, 1), (8, 8), None))}
        assert names == {"n0 up", "n1 up"}
        assert network.crossed(hold((0,), (8,), None)) == []

    def test_a_gang_inside_a_wide_scale_up_domain_uses_its_links_alone(self) -> None:
        """Racks of 72 in trays of 4: whole trays can fill their links; the cards stay idle."""
        nodes = tuple(Node(f"n{i}", "GB200", 4, 9e11, 5e10) for i in range(36))
        types = {"GB200": accelerators()["GB200"]}
        fabric = Fabric("rail", nodes_per_leaf=18)
        cluster = Cluster("c", "", types, (Pod("p", "s", nodes, fabric),), (Site("s"),))
        network = Network(cluster)
        inside = network.crossed(hold((0, 1), (4, 4), None))
        assert {TIERS[network.trunks[t].tier] for t, _ in inside} == {"scaleup"}
        loads = [sent / network.trunks[t].bytes_per_s for t, sent in inside]
        assert loads == pytest.approx([1.0, 1.0])
        racks = network.crossed(hold(tuple(range(36)), (4,) * 36, None))
        above = [s / network.trunks[t].bytes_per_s for t, s in racks
                 if TIERS[network.trunks[t].tier] != "scaleup"]  # fmt: skip
        assert max(above) == pytest.approx(1.0)  # without a taper, whole racks fill their cables

    def test_neighbours_of_a_torus_use_the_cable_between_them(self) -> None:
        name = "H100-SXM"
        nodes = tuple(Node(f"n{i}", name, 4, 450e9, 6.25e9) for i in range(8))
        fabric = Fabric("torus", shape=(2, 4), link_bytes_per_s=1e11)
        types = {name: accelerators()[name]}
        cluster = Cluster("c", "", types, (Pod("p", "s", nodes, fabric),), (Site("s"),))
        network = Network(cluster)
        crossed = network.crossed(hold((0, 1), (4, 4), None))
        assert {network.trunks[t].name for t, _ in crossed} == {"n0 - n1"}

    @pytest.mark.parametrize("seed", range(4))
    def test_places_lie_in_the_drawing(self, seed: int) -> None:
        cluster, *_ = fleet([[("A", 4)] * (seed + 1), [("B", 2)] * 3])
        drawn = Network(cluster).drawing()
        assert all(0 <= x <= 1 for x in drawn["x"])
        assert max(drawn["layer"]) == len(drawn["layers"]) - 1
        assert max(drawn["edges"][2::3], default=0) < len(drawn["trunks"]["name"])
