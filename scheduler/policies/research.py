"""The research baselines by name: each a line or two over the parts they are made of."""

from __future__ import annotations

from scheduler.policies.allox import AlloX
from scheduler.policies.gavel import make_gavel
from scheduler.policies.hadar import Hadar
from scheduler.policies.lucid import Lucid
from scheduler.policies.ordered import Ordered
from scheduler.policies.priced import PricedOptimizer
from scheduler.policies.rounds import SharedRounds
from scheduler.policies.sia import Sia
from scheduler.policies.strip_plan import StripPlanner
from scheduler.policies.view import Policy


def sjf() -> Policy:
    """W. Smith, Naval Research Logistics Quarterly 3, 1956."""
    return Ordered("sjf", "greedy", "best_fit")


def las() -> Policy:
    """L. Kleinrock, Queueing Systems, vol. 2, 1976 (foreground-background)."""
    return Ordered("las", "preempt", "best_fit")


def tiresias() -> Policy:
    """J. Gu et al., "Tiresias: a GPU cluster manager for distributed deep learning", 2019."""
    return Ordered("tiresias", "preempt", "best_fit")


def themis() -> Policy:
    """K. Mahajan et al., "Themis: fair and efficient GPU cluster scheduling", NSDI 2020."""
    return Ordered("themis", "preempt", "best_fit")


def conservative_backfill() -> Policy:
    """D. Feitelson, A. Weil, "Utilization and predictability in scheduling ...", IPPS 1998."""
    return Ordered("fifo", "conservative", "first_fit")


def worst_fit() -> Policy:
    """D. Johnson et al., SIAM J. Computing 3, 1974."""
    return Ordered("fifo", "greedy", "worst_fit")


def random_fit() -> Policy:
    """A coin for every node."""
    return Ordered("fifo", "greedy", "random_fit")


def topology_best_fit() -> Policy:
    """M. Amaral et al., "Topology-aware GPU scheduling ...", SC 2017."""
    return Ordered("fifo", "greedy", "topology_fit")


def dot_product() -> Policy:
    """R. Grandl et al., "Multi-resource packing for cluster schedulers", SIGCOMM 2014."""
    return Ordered("fifo", "greedy", "dot_product")


def gpu_packing() -> Policy:
    """Q. Weng et al., "MLaaS in the wild", NSDI 2022."""
    return Ordered("fifo", "greedy", "gpu_packing")


def gpu_clustering() -> Policy:
    """W. Xiao et al., "Gandiva", OSDI 2018."""
    return Ordered("fifo", "greedy", "gpu_clustering")


def fgd() -> Policy:
    """Q. Weng et al., "Beware of fragmentation", USENIX ATC 2023."""
    return Ordered("fifo", "greedy", "fgd")


def allox() -> Policy:
    """T. N. Le et al., "AlloX: compute allocation in hybrid clusters", EuroSys 2020."""
    return AlloX()


def hadar() -> Policy:
    """After A. Sultana et al., arXiv 2503.10918, 2025."""
    return Hadar()


def lucid() -> Policy:
    """Q. Hu et al., "Lucid", ASPLOS 2023."""
    return Lucid()


def sia() -> Policy:
    """S. Jayaram Subramanya et al., "Sia", SOSP 2023, for jobs of fixed batch."""
    return Sia()


def gavel_max_min_perf() -> SharedRounds:
    """D. Narayanan et al., OSDI 2020, section 4.1."""
    return make_gavel("max_min", perf=True)


def gavel_finish_time_perf() -> SharedRounds:
    """D. Narayanan et al., OSDI 2020, section 4.2."""
    return make_gavel("finish_time", perf=True)


def gavel_makespan_perf() -> SharedRounds:
    """D. Narayanan et al., OSDI 2020, section 4.2."""
    return make_gavel("makespan", perf=True)


def gavel_throughput_perf() -> SharedRounds:
    """D. Narayanan et al., OSDI 2020, section 4.2."""
    return make_gavel("throughput", perf=True)


def gavel_max_min() -> SharedRounds:
    """The baseline that takes types for equal."""
    return make_gavel("max_min", perf=False)


def gavel_finish_time() -> SharedRounds:
    """The baseline that takes types for equal."""
    return make_gavel("finish_time", perf=False)


def gavel_makespan() -> SharedRounds:
    """The baseline that takes types for equal."""
    return make_gavel("makespan", perf=False)


def gavel_throughput() -> SharedRounds:
    """The baseline that takes types for equal."""
    return make_gavel("throughput", perf=False)


def gavel_throughput_cost_perf() -> SharedRounds:
    """D. Narayanan et al., OSDI 2020, section 4.2, "minimize cost"."""
    return make_gavel("throughput", perf=True, cost=True)


def gavel_max_min_cost_perf() -> SharedRounds:
    """Max-min fairness of throughput per dollar."""
    return make_gavel("max_min", perf=True, cost=True)


def gandiva_fair() -> SharedRounds:
    """S. Chaudhary et al., EuroSys 2020: equal shares (its trading of types is left out)."""
    return make_gavel("equal", perf=True)


def shockwave() -> SharedRounds:
    """P. Zheng et al., NSDI 2023; rounds of two minutes or longer (`rounds.LEAST_RESTARTS`)."""
    return make_gavel("market", perf=True, round_s=120.0)


def optimizer_jct() -> Policy:
    """Rounds priced by a plan over time."""
    return PricedOptimizer()


def optimizer_makespan() -> Policy:
    """A whole schedule laid to end together."""
    return StripPlanner()
