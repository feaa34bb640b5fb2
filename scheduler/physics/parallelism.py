"""Candidate ways to split one training job over a gang, as columns.

A layout is tensor x context x pipeline x data parallel; experts are dealt over the
accelerators of a pipeline stage. Candidates are few enough (hundreds) to be rated all at
once in numpy, so that the choice is exact within the set and quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

TENSOR: Final = (1, 2, 4, 8)
PIPELINE: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CONTEXT: Final = (1, 2, 4, 8, 16, 32, 64)
CONTEXT_EXTRA: Final = 3
EXPERT: Final = (1, 4, 8, 16, 32, 64)
MICRO_BATCH: Final = (1, 2, 4, 8, 16)
MICRO_BATCH_SAMPLES: Final = (1, 8, 64, 512)
RECOMPUTE: Final = {"none": 0.0, "selective": 0.1, "half": 0.55, "full": 1.0}
"""How much of the forward pass each way of saving activations computes again: nothing;
norms and activation functions; that and all of every second layer; every layer."""
INTERLEAVE_CAP: Final = 8
"""Most pipeline chunks per accelerator that are tried (Narayanan et al., arXiv:2104.04473;
Llama 3 405B ran 126 layers on 16 stages, a layer to a chunk: arXiv:2407.21783, 3.3.2)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a job is split.

    Parameters
    ----------
    tensor, context, pipeline, data : int
        Degrees; their product is the gang.
    expert : int
        Accelerators over which the experts of a layer are dealt (1 for dense models).
    interleave : int
        Pipeline chunks per accelerator.
    micro_batch : float
        Sequences (or samples) in one forward pass.
    sharded : bool
        Weights and gradients are sharded over the data-parallel ranks too (ZeRO-3, FSDP);
        otherwise only the optimizer state is (ZeRO-1).
    recompute : str
        What is computed again in the backward pass, a key of `RECOMPUTE`.
    """

    tensor: int
    context: int
    pipeline: int
    data: int
    expert: int
    interleave: int
    micro_batch: float
    sharded: bool
    recompute: str

    def __str__(self) -> str:
        parts = [
            f"{name}{degree}"
            for name, degree in (
                ("tp", self.tensor),
                ("cp", self.context),
                ("pp", self.pipeline),
                ("dp", self.data),
                ("ep", self.expert),
            )
            if degree > 1
        ]
        parts += ["zero3"] * self.sharded
        if self.recompute != "none":
            parts.append(f"{self.recompute} recompute")
        return " ".join(parts) or "one accelerator"


@dataclass(frozen=True, slots=True)
class Layouts:
    """Layouts as columns, shape (k,) each: the fields of `Layout` and what follows.

    Parameters
    ----------
    recompute : ndarray of float64
        The value of `RECOMPUTE`.
    micro_batches : ndarray of float64
        Micro-batches each pipeline works off in a step (fractional where the batch does
        not divide: the mean over replicas).
    """

    tensor: FloatArray
    context: FloatArray
    pipeline: FloatArray
    data: FloatArray
    expert: FloatArray
    interleave: FloatArray
    micro_batch: FloatArray
    sharded: FloatArray
    recompute: FloatArray
    micro_batches: FloatArray

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> Layouts:
        """Return the layouts at `index`."""
        return Layouts(*(getattr(self, f.name)[index] for f in fields(self)))

    def layout(self, i: int) -> Layout:
        """Return one row."""
        return Layout(
            int(self.tensor[i]),
            int(self.context[i]),
            int(self.pipeline[i]),
            int(self.data[i]),
            int(self.expert[i]),
            int(self.interleave[i]),
            float(self.micro_batch[i]),
            bool(self.sharded[i]),
            _RECOMPUTE_NAMES[float(self.recompute[i])],
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Degrees that are given rather than chosen; None: choose. Fields as in `Layout`."""

    tensor: int | None = None
    context: int | None = None
    pipeline: int | None = None
    expert: int | None = None
    interleave: int | None = None
    micro_batch: int | None = None
    recompute: str | None = None


_RECOMPUTE_NAMES: Final = {value: name for name, value in RECOMPUTE.items()}
FREE: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Every layout worth rating, and which ones make which others pointless.

    Parameters
    ----------
    layouts : Layouts
        Shape (k,).
    better : ndarray of int64, shape (3, k)
        Rows that are never slower than row k but need more memory: the same layout that
        computes less again, that shards nothing but the optimizer state, and, without a
        pipeline, that takes larger micro-batches. -1: none.
    """

    layouts: Layouts
    better: IntArray

    def undominated(self, fits: BoolArray) -> BoolArray:
        """Return which layouts fit while none that makes them pointless does.

        Parameters
        ----------
        fits : ndarray of bool, shape (..., k)
            Whether each layout fits into memory.
        """
        none = np.zeros((*fits.shape[:-1], 1), dtype=bool)
        padded = np.concatenate([fits, none], axis=-1)
        return fits & ~padded[..., self.better].any(axis=-2)


@lru_cache(maxsize=4096)
def candidate_layouts(
    count: int,
    global_batch: int,
    layers: int,
    heads: int,
    experts: int,
    counts_tokens: bool,
    wanted: Wanted = FREE,
) -> Candidates:
    """Return every layout worth rating; none where the batch cannot feed the gang.

    Parameters
    ----------
    count : int
        Accelerators.
    global_batch : int
        Sequences (or samples) per step.
    layers, heads, experts : int
        Of the model; 0 where it has none.
    counts_tokens : bool
        Whether the model is a transformer over tokens. Others are only split by data.
    wanted : Wanted
        Degrees that are given.
    """
    splits = np.array(
        _splits(count, global_batch, layers, heads, experts, counts_tokens, wanted),
        dtype=np.float64,
    ).reshape(-1, 6)
    choices = _given(wanted.micro_batch, MICRO_BATCH if counts_tokens else MICRO_BATCH_SAMPLES)
    batches = np.array(sorted(choices), dtype=np.float64)
    levels = tuple(RECOMPUTE.values()) if counts_tokens else (0.0, 1.0)
    if wanted.recompute is not None:
        levels = (RECOMPUTE[wanted.recompute],)
    grid = (len(splits), len(batches), 2, len(levels))
    split, micro, sharded, level = (a.ravel() for a in np.indices(grid))
    data = splits[split, 3]
    kept = (batches[micro] * data <= global_batch) | (micro == 0)
    kept &= (sharded == 0) | (data > 1)
    number = np.where(kept, np.cumsum(kept) - 1, -1).reshape(grid)
    less, plain, larger = (np.full(grid, -1) for _ in range(3))
    less[..., 1:] = number[..., :-1]
    plain[:, :, 1] = number[:, :, 0]
    alone = splits[:, 2] == 1
    larger[alone, :-1] = number[alone, 1:]
    better = np.stack([a.ravel()[kept] for a in (less, plain, larger)])
    split, micro, data = split[kept], micro[kept], data[kept]
    columns = [
        *splits[split].T,
        batches[micro],
        sharded[kept].astype(np.float64),
        np.array(levels)[level[kept]],
        np.maximum(global_batch / data / batches[micro], 1.0),
    ]
    columns = [np.ascontiguousarray(column) for column in columns]
    for column in (*columns, better):
        column.setflags(write=False)
    return Candidates(Layouts(*columns), better)


def _splits(
    count: int,
    global_batch: int,
    layers: int,
    heads: int,
    experts: int,
    counts_tokens: bool,
    wanted: Wanted,
) -> list[tuple[int, ...]]:
    """Return (tensor, context, pipeline, data, expert, interleave)."""
    tensors = [t for t in TENSOR if heads % t == 0 or not heads]
    widest = max(t for t in tensors if count % t == 0)
    pipelines = [p for p in PIPELINE if p <= max(layers, 1)]
    contexts: Iterable[int] = CONTEXT
    if not counts_tokens:
        tensors, pipelines, contexts = [1], [1], (1,)
    found: list[tuple[int, ...]] = []
    for tensor in _given(wanted.tensor, tensors):
        for pipeline in _given(wanted.pipeline, pipelines):
            if count % (tensor * pipeline):
                continue
            rest = count // (tensor * pipeline)
            needed = [
                c
                for c in _given(wanted.context, contexts)
                if rest % c == 0 and rest // c <= global_batch
            ]
            # sequences are cut where there are too few of them, and further only to save
            # memory after the tensor degree is exhausted
            extra = CONTEXT_EXTRA if tensor >= widest else 1
            most = max(1, min(INTERLEAVE_CAP, layers // pipeline)) if pipeline > 1 else 1
            interleave = wanted.interleave or most
            stage = count // pipeline
            ranks = [e for e in EXPERT if e <= experts and stage % e == 0] if experts else [1]
            found += [
                (tensor, context, pipeline, rest // context, expert, interleave)
                for context in needed[:extra]
                for expert in _given(wanted.expert, ranks)
            ]
    return found


def _given(value: int | None, choices: Iterable[int]) -> Iterable[int]:
    return choices if value is None else (value,)
