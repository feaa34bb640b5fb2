"""Round simulator of adaptive jobs.

Each round advances the jobs, then the clock, then asks the policy about the jobs submitted so
far. A job ends inside a round; its accelerators are free again at the next one. A first start, a
change of type and a change of shape cost the application's restart; moving to other nodes with
the same shape does not. Seconds to the end of an epoch are rounded to whole ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.core.adaptive import AdaptiveProblem, AdaptiveRun, Stint
from scheduler.core.errors import InfeasibleError
from scheduler.physics.goodput import Rates
from scheduler.policies.adaptive.view import (
    AdaptivePolicy,
    AdaptiveView,
    Agents,
    JobState,
)
from scheduler.simulate.adaptive.placing import Place, place

LONGEST_ROUNDS = 200_000
"""Rounds after which a run is given up: some job is never served."""


@dataclass(slots=True)
class _Open:
    """A stint that has not ended."""

    group: int
    place: Place
    start_s: int
    restart_s: int = 0
    idle_s: int = 0
    sync_s: float = 0.0
    batches: list[tuple[int, int, int]] = field(default_factory=list)


def simulate_adaptive(
    problem: AdaptiveProblem,
    policy: AdaptivePolicy,
    agents: Agents,
    *,
    information: str = "none",
    rates: str = "known",
) -> AdaptiveRun:
    """Play a policy until the last job ends.

    Parameters
    ----------
    problem : AdaptiveProblem
        Fleet, applications and jobs.
    policy : AdaptivePolicy
        Decides at each round.
    agents : Agents
        The jobs' choice of batch, and what they know of their speed.
    information, rates : str
        Recorded in the result.

    Returns
    -------
    AdaptiveRun
        Stints, completions and restarts.

    Raises
    ------
    InfeasibleError
        If a rigid gang fits nowhere, or jobs are left when the run is given up.
    PolicyError
        If the policy asks for more than there is.
    """
    largest = max(group.accelerators for group in problem.groups)
    if policy.rigid and any(job.accelerators > largest for job in problem.jobs):
        names = [job.id for job in problem.jobs if job.accelerators > largest]
        raise InfeasibleError(f"gangs larger than any group of {largest}: {', '.join(names[:5])}")
    return _Run(problem, policy, agents).play(information, rates)


class _Run:
    """State of one simulation."""

    def __init__(self, problem: AdaptiveProblem, policy: AdaptivePolicy, agents: Agents) -> None:
        self.problem = problem
        self.policy = policy
        self.agents = agents
        self.states: dict[int, JobState] = {}
        self.open: dict[int, _Open] = {}
        self.stints: list[Stint] = []
        self.finished = [0] * len(problem.jobs)
        self.restarts = [0] * len(problem.jobs)

    def play(self, information: str, rates: str) -> AdaptiveRun:
        """Run round after round."""
        jobs, round_s = self.problem.jobs, self.policy.round_s
        submitted = now = 0
        for _ in range(LONGEST_ROUNDS):
            if not self.states:
                if submitted == len(jobs):
                    break
                ahead = int(-(-jobs[submitted].release_s // round_s)) * round_s
                now = max(now, ahead)
            while submitted < len(jobs) and jobs[submitted].release_s <= now:
                job = jobs[submitted]
                self.states[submitted] = JobState(submitted, job.application, job.release_s)
                submitted += 1
            self._decide(now)
            for state in list(self.states.values()):
                if state.config is not None:
                    self._advance(state, now, round_s)
            now += round_s
            self._learn()
        if self.states:
            names = ", ".join(jobs[j].id for j in list(self.states)[:5])
            raise InfeasibleError(f"never finished under {self.policy.name!r}: {names}")
        order = sorted(self.stints, key=lambda s: (s.start_s, s.job))
        return AdaptiveRun(
            self.policy.name,
            information,
            rates,
            round_s,
            tuple(order),
            tuple(self.finished),
            tuple(self.restarts),
        )

    def _decide(self, now: int) -> None:
        """Ask the policy and put its answer in force."""
        view = AdaptiveView(self.problem, now, list(self.states.values()), self.agents)
        wanted = self.policy.decide(view)
        held = {
            j: (s.config[0], (s.shape, s.nodes))
            for j, s in self.states.items()
            if s.config is not None
        }
        places = place(self.problem, wanted, held, packed=not self.policy.rigid)
        for j, state in self.states.items():
            config = wanted.get(j)
            before = (state.config and state.config[0], state.shape)
            if config is None:
                state.config, state.shape, state.nodes, state.restart_left_s = None, (), (), 0
                self._close(j, now)
                continue
            shape, nodes = places[j]
            moved = nodes != state.nodes
            state.config, state.shape, state.nodes = config, shape, nodes
            if before != (config[0], shape):
                state.restarts += 1
                state.restart_left_s = self.problem.applications[state.application].restart_s
            elif not moved:
                continue
            self._close(j, now)
            self.open[j] = _Open(config[0], (shape, nodes), now)

    def _advance(self, state: JobState, now: int, seconds: int) -> None:
        """Let a job run for a round."""
        stint = self.open[state.job]
        config = state.config
        if config is None:
            return
        paid = min(state.restart_left_s, seconds)
        state.restart_left_s -= paid
        stint.restart_s += paid
        left = seconds - paid
        rates = self.agents.rates(state, config[0], state.shape)
        done = self._train(state, stint, rates, now + paid, left)
        state.held_s += sum(state.shape) * seconds
        if done is not None:
            self.finished[state.job] = done
            self.restarts[state.job] = state.restarts
            stint.idle_s = now + seconds - done
            del self.states[state.job]
            self._close(state.job, now + seconds)

    def _train(
        self, state: JobState, stint: _Open, rates: Rates, now: int, left: int
    ) -> int | None:
        """Make progress for `left` seconds; return the second the job ends, if it does."""
        ends = self.problem.applications[state.application].epoch_ends
        while left > 0:
            e = state.epoch
            goodput, end = float(rates.goodput[e]), float(ends[e])
            batch = int(rates.batch[e])
            if not stint.batches or stint.batches[-1][2] != batch:
                stint.batches.append((now, e, batch))
            if state.progress + goodput * left < end:
                state.progress += goodput * left
                stint.sync_s += left * float(rates.sync[e])
                return None
            spent = round((end - state.progress) / goodput)
            stint.sync_s += spent * float(rates.sync[e])
            state.progress = end
            state.epoch += 1
            now += spent
            left -= spent
            if state.epoch == len(ends):
                return now
        return None

    def _learn(self) -> None:
        """Let the jobs that held accelerators learn from it.

        A gang is held to time its first steps as it comes up, so that a round spent restarting
        teaches too: the runs recorded of Sia are nearer under this reading than under the other.
        """
        for state in self.states.values():
            if state.config is not None:
                self.agents.observe(state)

    def _close(self, job: int, now: int) -> None:
        stint = self.open.pop(job, None)
        if stint is not None:
            self.stints.append(
                Stint(
                    job,
                    stint.group,
                    *stint.place,
                    stint.start_s,
                    now,
                    stint.restart_s,
                    stint.idle_s,
                    tuple(stint.batches),
                    stint.sync_s,
                )
            )
