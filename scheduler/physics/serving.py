"""How many requests per second a replica serves under its objectives (continuous batching).

In steady state a replica that completes `r` requests/s keeps ``b = r * O * tpot`` of them
decoding (Little's law; O output tokens each). In every step ``b / O`` requests arrive, and
decoding waits for their prompts (iteration-level scheduling: Yu et al., Orca, OSDI 2022):
``tpot = step(b) + prefill of b / O prompts``. Prompts queue for the replica as M/D/1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scheduler.physics.gang_rates import StepTime
from scheduler.physics.network import Refusal
from scheduler.physics.roofline import (
    Replica,
    decode_parts,
    decode_step_time_s,
    prefill_parts,
    prefill_time_s,
)

MAX_SEQUENCES = 1024.0
"""Sequences decoded at once at most (vLLM's default on accelerators of 70 GiB or more)."""

QUEUE_TAIL = 3.0
"""The queueing headroom of the time to first token: three mean waits, which an exponential
wait stays below 95 % of the time."""

PREFILL_BUDGET_TOKENS = 8192.0
"""Prompt tokens that serving software processes in one pass by default."""

BISECTIONS = 40


@dataclass(frozen=True, slots=True)
class Objectives:
    """What is asked of one replica.

    Parameters
    ----------
    prompt_tokens, output_tokens : float
        Mean request.
    ttft_s, tpot_s : float
        Most time to the first token, and per output token.
    """

    prompt_tokens: float
    output_tokens: float
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class ServingPoint:
    """A steady state of one replica.

    Parameters
    ----------
    requests_per_s : float
        Completed.
    batch : float
        Mean sequences decoding.
    ttft_s : float
        Time to the first token, with queueing headroom.
    tpot_s : float
        Mean time per output token.
    prefill_share : float
        Share of the time spent on prefill.
    """

    requests_per_s: float
    batch: float
    ttft_s: float
    tpot_s: float
    prefill_share: float


def prompts_time_s(replica: Replica, prompt_tokens: float, prompts: float) -> float:
    """Return the time that a mean of `prompts` arriving prompts takes from every step.

    Prompts that arrive together share a pass of up to `PREFILL_BUDGET_TOKENS` tokens, and
    so one reading of the weights; a prompt that comes in one step of many has its own.
    """
    most = most_prompts(prompt_tokens)
    together = min(max(prompts, 1.0), most)
    return prompts / together * prefill_time_s(replica, prompt_tokens, together)


def most_prompts(prompt_tokens: float) -> float:
    """Return how many prompts of that length share one pass, at least 1."""
    return max(PREFILL_BUDGET_TOKENS / prompt_tokens, 1.0)


def serving_point(replica: Replica, asked: Objectives, batch: float) -> ServingPoint:
    """Return the steady state with `batch` sequences decoding on average."""
    prompt, output = asked.prompt_tokens, max(asked.output_tokens, 1.0)
    constants = replica.constants
    step_s = decode_step_time_s(replica, max(batch, 1.0), prompt + output / 2)
    prefill_s = prompts_time_s(replica, prompt, batch / output)
    tpot_s = step_s + prefill_s
    rate = batch / (output * tpot_s)
    # queueing at the rate of full passes, the most the replica can do about a backlog
    most = most_prompts(prompt)
    alone_s = prefill_time_s(replica, prompt)
    load = rate * prompts_time_s(replica, prompt, most) / most
    wait_s = QUEUE_TAIL * load / (2 * (1 - load)) * alone_s
    in_progress_s = batch / (1 + batch) * constants.first_token_steps * tpot_s
    ttft_s = constants.first_token_s + in_progress_s + wait_s + alone_s
    return ServingPoint(rate, batch, ttft_s, tpot_s, prefill_s / tpot_s)


def token_time(replica: Replica, asked: Objectives, batch: float) -> StepTime:
    """Return the time per output token of `serving_point` by cause, prompts' share included."""
    prompt, output = asked.prompt_tokens, max(asked.output_tokens, 1.0)
    prompts = batch / output
    together = min(max(prompts, 1.0), most_prompts(prompt))
    decode = decode_parts(replica, max(batch, 1.0), prompt + output / 2)
    prefill = prefill_parts(replica, prompt, together)
    share = prompts / together
    compute, memory, wire = (d + share * p for d, p in zip(decode, prefill, strict=True))
    return StepTime(compute, memory, wire, bubble=0.0)


def mean_batch(slots: float) -> float:
    """Return the mean batch that leaves one standard deviation of free slots.

    The number of requests in service is Poisson, so ``b + sqrt(b) = slots`` (square-root
    staffing: Halfin and Whitt, doi:10.1287/opre.29.3.567).
    """
    root = (math.sqrt(1 + 4 * slots) - 1) / 2
    return root * root


def capacity(
    replica: Replica, asked: Objectives, max_batch: float
) -> tuple[ServingPoint, str] | Refusal:
    """Return the fastest steady state that meets the objectives, and what limits it.

    Parameters
    ----------
    replica : Replica
        Where.
    asked : Objectives
        Objectives and mean request.
    max_batch : float
        Sequences that fit in memory, at least 1.

    Returns
    -------
    tuple of ServingPoint and str, or Refusal
        The limit is ``"memory"``, ``"sequences"``, ``"tpot"`` or ``"ttft"``.
    """
    alone = serving_point(replica, asked, 0.0)
    if alone.tpot_s > asked.tpot_s:
        return _too_slow("output token", alone.tpot_s, asked.tpot_s)
    if alone.ttft_s > asked.ttft_s:
        return _too_slow("first token", alone.ttft_s, asked.ttft_s)
    most = mean_batch(min(max_batch, MAX_SEQUENCES))
    point = serving_point(replica, asked, most)
    if _misses(point, asked) is None:
        return point, "memory" if max_batch < MAX_SEQUENCES else "sequences"
    batch = largest(lambda b: _misses(serving_point(replica, asked, b), asked) is None, 0.0, most)
    beyond = serving_point(replica, asked, batch * (1 + 1e-6) + 1e-9)
    return serving_point(replica, asked, batch), _misses(beyond, asked) or "tpot"


def largest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest value of an interval up to which `holds` is true, by bisection."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _misses(point: ServingPoint, asked: Objectives) -> str | None:
    if point.tpot_s > asked.tpot_s:
        return "tpot"
    return "ttft" if point.ttft_s > asked.ttft_s else None


def _too_slow(what: str, best_s: float, asked_s: float) -> Refusal:
    return Refusal(
        f"the {what} of a lone request takes {best_s * 1e3:.3g} ms,"
        f" the objective is {asked_s * 1e3:.3g} ms"
    )
