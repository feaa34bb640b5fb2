"""Predicts published inference measurements, to show how far the formulas can be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Literal

from scheduler.core.errors import InputError
from scheduler.core.model import Model
from scheduler.core.units import GIB
from scheduler.io.published_inference import PublishedInference
from scheduler.physics.inference_constants import SHIPPED, InferenceConstants
from scheduler.physics.kv_cache import ServingMemory, serving_memory
from scheduler.physics.network import Refusal, usual_network
from scheduler.physics.precision import find_precision
from scheduler.physics.predictions import Prediction, Report, report_of
from scheduler.physics.roofline import (
    Replica,
    Runtime,
    build_replica,
    decode_step_time_s,
    prefill_time_s,
)
from scheduler.physics.serving import most_prompts, prompts_time_s

Quantity = Literal["prefill_ms", "decode_step_ms", "decode_tok_s"]

UNSTATED_CONTEXT_TOKENS = 879.0
"""Context of layer timings that state none: mean prompt and half the mean output of the
conversation trace they were made for (763 and 232 tokens, arXiv:2406.01566)."""

EAGER_BATCH_TOKENS = 2048.0
"""Where static batches of prompts begin to slow down on an eager runtime."""

SIGMA_LOG: Mapping[str, float] = {
    "decode/static": 0.15,
    "decode/serving": 0.20,
    "decode/layer": 0.15,
    "first token/static": 0.16,
    "first token/serving": 0.25,
    "first token/layer": 0.20,
}
"""Standard deviation of log(predicted / measured), by what is measured and how."""


def predict_inference(
    runs: Iterable[PublishedInference],
    *,
    unknown: Mapping[str, str] | None = None,
    constants: InferenceConstants = SHIPPED,
) -> Report:
    """Compare the formulas with published measurements.

    Parameters
    ----------
    runs : iterable of PublishedInference
        See `scheduler.io.published_inference.read_published_inference`.
    unknown : mapping of str to str, optional
        Rows that could not be read into runs, and why; refused rows are added.
    constants : InferenceConstants
        Fitted constants.
    """
    unpredicted = dict(unknown or {})
    predictions: list[Prediction] = []
    for run in runs:
        try:
            found = predict_run(run, constants)
        except InputError as error:  # a precision outside the table
            unpredicted[run.id] = str(error)
            continue
        if isinstance(found, Refusal):
            unpredicted[run.id] = found.reason
        else:
            predictions += found
    return report_of(predictions, unpredicted)


def predict_run(
    run: PublishedInference, constants: InferenceConstants = SHIPPED
) -> tuple[Prediction, ...] | Refusal:
    """Predict the measured figures of one run, or say why the run is impossible.

    Clients beyond the sequences that fit in memory queue for one to end. Decode tokens per
    second are predicted where no step time is given; with one they are the same measurement
    again. Of a run without any figure all are predicted.
    """
    replica = run_replica(run, constants)
    if isinstance(replica, Refusal):
        return replica
    memory = run_memory(run)
    if memory.weights_bytes > run.accelerator.memory_bytes:
        need, has = memory.weights_bytes / GIB, run.accelerator.memory_bytes / GIB
        return Refusal(
            f"{run.model.name} in {run.precision} on {run.tensor_parallel} x"
            f" {run.accelerator.name} needs {need:.0f} GiB on each for its weights alone,"
            f" each has {has:.0f}"
        )
    slots = max(memory.max_batch, 1.0)
    copies = run.count // run.tensor_parallel
    batch = max(run.batch / copies, 1.0)
    prompt, output = run.prompt_tokens, run.output_tokens or 1.0
    first_s: float | None = None
    if prompt is None:
        step_s = decode_step_time_s(replica, batch, UNSTATED_CONTEXT_TOKENS)
    elif run.kind == "serving":
        served = min(batch, slots)
        step_s = closed_loop_token_time_s(replica, served, prompt, output)
        first_s = closed_loop_first_token_time_s(
            replica, served, prompt, step_s, batches_prompts=batches_prompts(run.engine)
        )
        first_s += (batch - served) / served * output * step_s
        batch = served
    else:
        step_s = decode_step_time_s(replica, batch, prompt + output / 2)
        first_s = prefill_time_s(replica, prompt, batch)
        tokens = batch * prompt
        if replica.host_layer_s and tokens > EAGER_BATCH_TOKENS:
            first_s *= (tokens / EAGER_BATCH_TOKENS) ** constants.eager_batch_exponent
    return tuple(_compare(run, first_s, step_s, copies * batch, memory.max_batch >= 1))


def run_memory(run: PublishedInference) -> ServingMemory:
    """Return the memory of one accelerator of a published run."""
    tokens = UNSTATED_CONTEXT_TOKENS
    if run.prompt_tokens is not None:
        tokens = run.prompt_tokens + (run.output_tokens or 1.0)
    return serving_memory(
        one_layer(run.model) if run.kind == "layer" else run.model,
        find_precision(run.precision),
        run.accelerator.memory_bytes,
        run.tensor_parallel,
        tokens,
    )


def _compare(
    run: PublishedInference,
    first_s: float | None,
    step_s: float,
    sequences: float,
    fits: bool,
) -> Iterator[Prediction]:
    def figure(quantity: Quantity, predicted: float, measured: float | None) -> Prediction:
        what = "first token" if quantity == "prefill_ms" else "decode"
        return Prediction(
            id=run.id,
            quantity=quantity,
            predicted=predicted,
            measured=measured,
            sigma_log=SIGMA_LOG[f"{what}/{run.kind}"],
            groups=(
                f"source/{_short(run.source)}",
                f"stack/{run.accelerator.stack}",
                f"precision/{run.precision}",
                f"kind/{what} {run.kind}",
            ),
            counted=measured is not None,
            fits=fits,
        )

    prefill_s, decode_s, per_s = run.prefill_s, run.decode_step_s, run.decode_tokens_per_s
    nothing = prefill_s is None and decode_s is None and per_s is None
    if first_s is not None and (nothing or prefill_s is not None):
        yield figure("prefill_ms", first_s * 1e3, None if prefill_s is None else prefill_s * 1e3)
    if nothing or decode_s is not None:
        yield figure("decode_step_ms", step_s * 1e3, None if decode_s is None else decode_s * 1e3)
    if decode_s is None and (nothing or per_s is not None):
        yield figure("decode_tok_s", sequences / step_s, per_s)


def _short(source: str) -> str:
    """Return a source without the file and the row: a repository, or what stands before a comma."""
    first = source.split(" ", 1)[0].rstrip(",")
    return first if "/" in first else source.split(",", 1)[0]


def closed_loop_token_time_s(
    replica: Replica, clients: float, prompt_tokens: float, output_tokens: float
) -> float:
    """Return the time per output token with `clients` requests always in flight.

    While one request decodes, each of the others is replaced once and interrupts it with
    its prefill.
    """
    step_s = decode_step_time_s(replica, clients, prompt_tokens + output_tokens / 2)
    return step_s + prompts_time_s(replica, prompt_tokens, (clients - 1) / output_tokens)


def closed_loop_first_token_time_s(
    replica: Replica,
    clients: float,
    prompt_tokens: float,
    token_time_s: float,
    *,
    batches_prompts: bool,
) -> float:
    """Return the time to the first token with `clients` requests always in flight.

    A new request waits for decode steps in progress, if any, and for its prefill.
    Equal requests answered together come back together; software that processes waiting
    prompts in one pass then makes each of them wait for all.
    """
    constants = replica.constants
    together = min(clients, most_prompts(prompt_tokens)) if batches_prompts else 1.0
    waiting_s = (clients - 1) / clients * constants.first_token_steps * token_time_s
    prefill_s = prefill_time_s(replica, prompt_tokens, together)
    return constants.first_token_s + waiting_s + prefill_s


def run_replica(
    run: PublishedInference, constants: InferenceConstants = SHIPPED
) -> Replica | Refusal:
    """Return the replica of a published run (of one layer where one layer was timed).

    What a device cannot compute in, serving software runs in the nearest format it can.
    """
    model = one_layer(run.model) if run.kind == "layer" else run.model
    name = find_precision(run.precision).name
    refused: Replica | Refusal = Refusal("")
    for precision in (name, *STAND_INS.get(name, ())):
        found = build_replica(
            model,
            precision,
            run.accelerator,
            run.tensor_parallel,
            usual_network(run.accelerator, run.tensor_parallel),
            runtime=runtime_of(run.engine),
            constants=constants,
        )
        if isinstance(found, Replica):
            return found
        refused = found if precision == name else refused
    return refused


STAND_INS: Mapping[str, tuple[str, ...]] = {
    "fp8": ("w8a16",),
    "bf16": ("fp16",),
    "fp16": ("bf16",),
}


def batches_prompts(engine: str) -> bool:
    """Return whether that software processes waiting prompts in one pass (TensorRT-LLM)."""
    return any(name in engine.casefold() for name in ("trt", "tensorrt", "nim"))


def runtime_of(engine: str) -> Runtime:
    """Return how serving software of that name and version drives the device.

    vLLM captures graphs since version 0.2.6 of December 2023.
    """
    name = engine.casefold()
    vllm = re.search(r"vllm\D*(\d+)(?:\.(\d+))?", name)
    if vllm is None:
        return (
            Runtime.EAGER
            if name.startswith(("hf", "hugging", "transformers"))
            else (Runtime.CAPTURED)
        )
    major, minor = int(vllm[1]), int(vllm[2] or 0)
    early = major <= EAGER_VLLM_YEAR if major > FIRST_YEAR else (major, minor) <= (0, 2)
    return Runtime.EAGER if early else Runtime.CAPTURED


FIRST_YEAR, EAGER_VLLM_YEAR = 2000, 2023
"""A version from the first on is a year; up to the second vLLM started every kernel."""


@cache
def one_layer(model: Model) -> Model:
    """Return one transformer layer of `model`, without the vocabulary matrices."""
    vocabulary = 2 * model.vocabulary * model.hidden
    return replace(
        model,
        layers=1,
        vocabulary=0,
        parameters=(model.parameters - vocabulary) / model.layers,
        active_parameters=(model.active_parameters - vocabulary) / model.layers,
    )
