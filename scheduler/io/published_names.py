"""Names of models, accelerators and precisions as published tables spell them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Final, TypeVar

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import InputError
from scheduler.core.model import Model, usual_shape
from scheduler.core.units import GIB
from scheduler.io.catalogue import accelerators, find_accelerator

Item = TypeVar("Item", AcceleratorType, Model)

BILLION: Final = 1e9

_PRECISIONS: Final = (
    *("mxfp8", "nvfp4", "mxfp4", "fp8", "fp4", "bf16", "fp16", "int8", "int4", "tf32", "fp32"),
)
_OTHER_WORDS: Final = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "fp32",
    "w8a8": "int8",
}

HEAD_DIM: Final = 128
KV_HEADS: Final = 8
VOCABULARY: Final = 100_000
EXPERTS, EXPERTS_PER_TOKEN = 128, 8
"""Of models that are known by their size only: what open models since 2023 have most often."""


def resolve(
    name: str, spellings: Callable[[str], tuple[str, ...]], find: Callable[[str], Item]
) -> Item | str:
    """Return the catalogue entry some spelling of `name` finds, or why there is none."""
    reason = ""
    for spelling in spellings(name):
        try:
            return find(spelling)
        except InputError as error:
            reason = reason or str(error)
    return reason


def model_spellings(name: str) -> tuple[str, ...]:
    """Return the names to look a model up by: the repository's owner and variant dropped."""
    short = name.rsplit("/", 1)[-1].casefold().replace("_", "-").replace(" ", "-")
    plain = re.sub(r"^(meta-(?=llama)|nvidia-|moe-(?=mixtral))", "", short)
    bare = re.sub(
        r"-(instruct|chat|it|hf|base|nvfp4|mxfp4|fp8|fp4|awq|gptq|w4a16|bf16|v\d(\.\d)?|\d{4})\b.*$",
        "",
        plain,
    )
    dashed = re.sub(r"^(llama|qwen|gemma|mi[sx]tral|phi|gpt|opt|bloom)(\d)", r"\1-\2", bare)
    return tuple(dict.fromkeys((name, short, plain, bare, dashed)))


def accelerator_spellings(name: str) -> tuple[str, ...]:
    """Return the names to look an accelerator up by: form factor and maker dropped."""
    short = name.casefold().replace("_", "-").replace(" ", "-")
    bare = re.sub(r"-(sxm\d?|oam|hgx|nvl\d*)$", "", short)
    maker = re.sub(r"^(nvidia|amd|intel|google|huawei)-", "", bare)
    dashed = re.sub(r"^(rtx|tpu|gtx|ascend)(?=\w)", r"\1-", maker)
    return tuple(dict.fromkeys((name, short, bare, maker, dashed, f"{maker}-sxm")))


def named_accelerator(name: str) -> AcceleratorType | str:
    """Return the type that `name` means, or why there is none.

    Beyond the spellings, a name may put the words of a catalogue name in another order and
    state the memory: ``h100-80gb-pcie``, ``T4-16GB``.
    """
    found = resolve(name, accelerator_spellings, find_accelerator)
    if not isinstance(found, str):
        return found
    words, memory_gib = _words(name)
    alike = {
        kind.name: kind
        for kind in accelerators().values()
        for known in (kind.name, *kind.aliases)
        if _words(known)[0] == words
        and (not memory_gib or math.isclose(kind.memory_bytes / GIB, memory_gib, rel_tol=0.05))
    }
    return next(iter(alike.values())) if len(alike) == 1 else found


_SAYS_NOTHING: Final = re.compile(r"nvidia|amd|intel|google|huawei|tesla|instinct|gpu|sxm\d?|oam")


@cache
def _words(name: str) -> tuple[frozenset[str], float]:
    """Return the words that tell accelerators apart, and GiB of memory; 0 where not stated."""
    words = re.split(r"[^a-z0-9]+", name.casefold())
    sizes = [float(found[1]) for found in (re.fullmatch(r"(\d+)gi?b", w) for w in words) if found]
    telling = (w for w in words if w and not re.fullmatch(r"\d+gi?b", w))
    return frozenset(w for w in telling if not _SAYS_NOTHING.fullmatch(w)), max(sizes, default=0.0)


def precision_word(text: str, accelerator: AcceleratorType) -> str:
    """Return the number format a cell names; the usual 16-bit one where it names none.

    Words that are no format are returned as they are, for physics to refuse.
    """
    folded = text.casefold().replace("_", "-")
    if not folded:
        return "bf16" if "bf16" in accelerator.peak_flops else "fp16"
    if folded in _PRECISIONS:
        return folded
    for word, meant in (*((p, p) for p in _PRECISIONS), *_OTHER_WORDS.items()):
        if word in re.split(r"[^a-z0-9]+", folded):
            return meant
    return text


def parameters_in_name(name: str) -> tuple[float, float] | None:
    """Return all and active weights that a name such as ``Qwen3-30B-A3B`` states."""
    folded = name.casefold().replace("_", "-")
    dealt = re.search(r"(?<![a-z0-9.])(\d+)x(\d+(?:\.\d+)?)b(?![a-z])", folded)
    if dealt:  # experts times the size of one: they share attention, so it is an upper bound
        each = float(dealt[2]) * BILLION
        return int(dealt[1]) * each, 2 * each
    active = re.search(r"(?<![a-z0-9.])a(\d+(?:\.\d+)?)b(?![a-z])", folded)
    total = re.search(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m|t)(?![a-z])", folded)
    if not total:
        return None
    weights = float(total[1]) * {"m": 1e6, "b": BILLION, "t": 1e12}[total[2]]
    used = float(active[1]) * BILLION if active else weights
    return (weights, min(used, weights)) if weights > 0 else None


def usual_model(name: str, parameters: float, active_parameters: float) -> Model:
    """Return a transformer of usual shape that is known by its size only."""
    layers, hidden = usual_shape(active_parameters)
    moe = active_parameters < parameters
    return Model(
        name=name,
        kind="moe" if moe else "dense",
        parameters=parameters,
        active_parameters=active_parameters,
        layers=layers,
        hidden=hidden,
        heads=max(KV_HEADS, KV_HEADS * round(hidden / HEAD_DIM / KV_HEADS)),
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        ffn_hidden=4 * hidden,
        vocabulary=min(VOCABULARY, round(parameters / (4 * hidden))),
        experts=EXPERTS if moe else 0,
        experts_per_token=EXPERTS_PER_TOKEN if moe else 0,
        kv_values_per_token_layer=2.0 * KV_HEADS * HEAD_DIM,
    )
