"""The event engine: plays a policy with noise and failures; emits a Run with its Ledger.

`simulate` plays a whole run. An `Engine` can be stopped on the way, saved as JSON data,
restored and forked (`scheduler.io.write_snapshot` and `read_snapshot` keep that data in a file):

>>> engine = Engine(problem, make("fifo"), policy_name="fifo", seed=0,
...     information="exact", noise_sigma=0.0, horizon_s=None,
...     account="run")  # doctest: +SKIP
>>> engine.play(until_us=3_600_000_000)  # doctest: +SKIP
>>> saved = engine.save()  # doctest: +SKIP
>>> Engine.restore(problem, saved, make("fifo")).run()  # doctest: +SKIP
>>> Engine.restore(problem, saved, make("srtf"), fork=True).run()  # doctest: +SKIP
"""

from __future__ import annotations

from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.policies import Policy, make
from scheduler.policies.view import Information
from scheduler.simulate.engine import ACCOUNTS, Account, Engine
from scheduler.simulate.snapshot import SnapshotError

__all__ = ["ACCOUNTS", "Account", "Engine", "SnapshotError", "simulate"]


def simulate(
    problem: Problem,
    policy: str | Policy,
    *,
    seed: int = 0,
    information: Information = "exact",
    noise_sigma: float = 0.0,
    horizon_s: float | None = None,
    account: Account = "run",
) -> Run:
    """Play one replay of a policy and return what happened.

    Parameters
    ----------
    problem : Problem
        From `scheduler.physics.build_problem`.
    policy : str or Policy
        A registered name, or an instance of one's own (it plays one run only).
    seed : int
        Seed of noise and failures; the same seed gives every policy the same ones.
    information : {"exact", "estimates", "none"}
        What the policy may know of the remaining work.
    noise_sigma : float
        Log standard deviation of actual work around nominal work.
    horizon_s : float or None
        End of the run; None: when the last job has ended.
    account : {"run", "arrivals"}
        What period the ledger covers: the whole run, or up to the last arrival.

    Returns
    -------
    Run
        Events, allocations and the ledger, the same bytes for the same arguments.

    Raises
    ------
    InputError
        If the policy name is unknown.
    PolicyError
        If the policy decides something illegal.

    Examples
    --------
    >>> run = simulate(problem, "fifo", seed=1)  # doctest: +SKIP
    >>> run.ledger.by_cause()["productive"]  # doctest: +SKIP
    """
    name = policy if isinstance(policy, str) else type(policy).__name__
    return Engine(
        problem,
        make(policy) if isinstance(policy, str) else policy,
        policy_name=name,
        seed=seed,
        information=information,
        noise_sigma=noise_sigma,
        horizon_s=horizon_s,
        account=account,
    ).run()
