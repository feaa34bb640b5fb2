"""The sections of a workload file, field by field, for pydantic.

`scheduler.io.workload` describes the file and turns checked sections into a Workload.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from scheduler.core.model import ModelKind
from scheduler.core.units import WHOLE_MILLI
from scheduler.io import catalogue
from scheduler.io.jobs_table import GANG_CAP, PRIORITY_CAP, SHARE_ALONE, SHARES, share_of_one
from scheduler.io.quantities import BYTES, TIME, Span
from scheduler.io.rows import LONGEST_S
from scheduler.io.schema import (
    Section,
    choice,
    count,
    flag,
    name,
    number,
    one_or_more,
    quantity,
    reference,
    refuse,
    text,
)

LEVELS: Final = (
    *("node", "scaleup", "leaf", "block", "slice-3", "slice-2", "slice-1"),
    *("pod", "site", "fleet"),
)
"""Levels of locality from the inside out; a fleet has those that its fabrics show, a torus
its slices."""

LONGEST_TOKENS: Final = 1e9
LENGTHS_CAP: Final = 32
SHARE_ERROR: Final = 0.001
"""How far from 1 the sum of shares may be by rounding; they are then scaled to 1."""

_POSITIVE = Span(0.0, above=True)
_PROBABLE = Span(0.5, 0.999999)
_CHANCE = Span(0.0, 0.999999)
_Name = Annotated[str, name]
_Text = Annotated[str, text]
_Time = Annotated[float, quantity(TIME, Span(0.0, LONGEST_S))]
_PositiveTime = Annotated[float, quantity(TIME, Span(0.0, LONGEST_S, above=True))]
_Number = Annotated[float, number(_POSITIVE)]
_Amount = Annotated[float, number()]
_Count = Annotated[int, count(0)]
_Type = Annotated[str, reference("accelerators", "accelerator type")]
_Types = list[_Type]
_Copies = Annotated[int, count(1, 1_000_000)]
_GangSize = Annotated[int, count(1, GANG_CAP)]
_Replica = Annotated[list[_GangSize], one_or_more(), Field(min_length=1, max_length=100)]
_Priority = Annotated[int, count(-PRIORITY_CAP, PRIORITY_CAP)]
_Precision = Annotated[str, choice(*catalogue.PRECISIONS)]


def _borrow(value: object) -> int | None:
    if value == "any":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise refuse("not a number of accelerators", "a whole number from 0, or any")
    return value


_Borrow = Annotated[int | None, BeforeValidator(_borrow)]


def _size_milli(value: object) -> int:
    """Return a gang size in thousandths of an accelerator."""
    allowed = f"a whole number from 1 to {GANG_CAP}, or a share of one: {SHARES}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise refuse("not a number of accelerators", allowed)
    share_milli = share_of_one(value)
    if share_milli < WHOLE_MILLI:
        return share_milli
    if 0 < value < 1:
        raise refuse("not a share in thousandths", SHARES)
    if not math.isfinite(value) or value != int(value):
        raise refuse("not a whole number", allowed)
    if not 1 <= value <= GANG_CAP:
        raise refuse("out of range", allowed)
    return int(value) * WHOLE_MILLI


_Gang = Annotated[
    list[Annotated[int, BeforeValidator(_size_milli)]],
    one_or_more(),
    Field(min_length=1, max_length=100),
]


def _length(value: object) -> tuple[float, float, float]:
    allowed = "[share above 0, prompt tokens above 0, output tokens above 0]"
    if not isinstance(value, list) or len(value) != 3:
        raise refuse("not a share and two lengths", allowed)
    for entry in value:
        if isinstance(entry, bool) or not isinstance(entry, (int, float)):
            raise refuse("not a share and two lengths, in numbers", allowed)
        if not 0 < entry <= LONGEST_TOKENS:
            raise refuse("out of range", f"{allowed}, at most {LONGEST_TOKENS:g}")
    share, prompt, output = value
    return float(share), float(prompt), float(output)


_Length = Annotated[tuple[float, float, float], BeforeValidator(_length)]


class HeadSection(Section):
    """The fields of the file itself."""

    schema_: Annotated[str, text, Field(alias="schema")]
    title: _Text
    source: _Text = ""
    licence: _Text = ""
    other_accelerators: list[_Name] = Field(default_factory=list)
    models: Any = None
    profiles: Any = None
    classes: Any = None
    jobs: Any = None
    jobs_file: _Name | None = None
    services: Any = None
    generate: Any = None
    tenants: Any = None


class ModelRowSection(Section):
    """One entry of `models`."""

    kind: Annotated[ModelKind, choice(*get_args(ModelKind))]
    parameters: _Number
    active_parameters: _Number | None = None
    layers: _Count = 0
    hidden: _Count = 0
    heads: _Count = 0
    kv_heads: _Count | None = None
    head_dim: _Count | None = None
    ffn_hidden: _Count | None = None
    vocabulary: _Count = 0
    experts: _Count = 0
    experts_per_token: _Count = 0
    kv_values_per_token_layer: _Amount | None = None
    flops_per_sample: _Amount = 0.0
    activation_values_per_sample: _Amount = 0.0
    source: _Text = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.flops_per_sample == 0 and 0 in (self.layers, self.hidden, self.heads):
            allowed = "layers, hidden and heads of a transformer, or flops_per_sample"
            raise refuse("the model has no shape", allowed)
        if self.active_parameters is not None and self.active_parameters > self.parameters:
            raise refuse("more active parameters than parameters", f"at most {self.parameters:g}")
        if self.experts_per_token > self.experts:
            raise refuse("more experts per token than experts", f"at most {self.experts}")
        return self


class RateSection(Section):
    """One row of an inline throughput table."""

    job_type: _Name
    accelerator: _Name
    count: _GangSize
    spread: Annotated[str, choice("packed", "spread")] = "packed"
    rate: _Amount


class ProfileTableSection(Section):
    """One entry of `profiles`."""

    file: _Name | None = None
    rates: Annotated[list[RateSection], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.file is None) == (self.rates is None):
            raise refuse("the rates are given twice or not at all", "either file or rates")
        return self


class ModelSection(Section):
    """Physics by a model description."""

    name: Annotated[str, reference("models", "model")]
    precision: _Precision = "bf16"
    sequence_length: Annotated[int, count()] = 4096
    global_batch: Annotated[int, count()] = 512


class ProfileSection(Section):
    """Physics by a throughput table."""

    table: Annotated[str, reference("profiles", "throughput table")]
    job_type: _Name


class RunTimeSection(Section):
    """Physics by recorded run times."""

    reference: _Type = ""


class ClassSection(Section):
    """One item of `classes`."""

    name: _Name
    model: ModelSection | None = None
    profile: ProfileSection | None = None
    run_time: RunTimeSection | None = None
    gang: _Gang
    accelerators: Annotated[_Types, Field(min_length=1)] | None = None
    precision: _Precision | None = None
    stacks: (
        Annotated[list[Annotated[str, reference("stacks", "software stack")]], Field(min_length=1)]
        | None
    ) = None
    memory: Annotated[float, quantity(BYTES)] = 0.0
    max_level: Annotated[str, choice(*LEVELS)] | None = None
    preemptible: Annotated[bool, flag] = True
    restart: _Time = 30.0
    checkpoint: _PositiveTime = 1800.0
    mixed_types: Annotated[int, count(1, 3)] = 1
    saves_state: Annotated[bool, flag] = True
    labels: dict[_Name, _Name] = Field(default_factory=dict)
    cpus: _Amount = 0.0
    host_memory: Annotated[float, quantity(BYTES)] = 0.0
    group: _Name = ""
    apart: Annotated[str, choice(*LEVELS)] | None = None
    near: Annotated[str, choice(*LEVELS)] | None = None

    @model_validator(mode="after")
    def _one_physics(self) -> Self:
        if [self.model, self.profile, self.run_time].count(None) != 2:
            raise refuse("not one kind of physics", "exactly one of model, profile, run_time")
        if self.mixed_types > 1 and self.model is None:
            raise refuse("only classes with a model may mix types", "mixed_types: 1")
        if min(self.gang) < WHOLE_MILLI:
            if len(set(self.gang)) > 1:
                raise refuse("a share beside other gang sizes", SHARE_ALONE)
            if self.mixed_types > 1:
                raise refuse("a share of one accelerator cannot mix types", "mixed_types: 1")
        return self


class JobSection(Section):
    """One item of `jobs`."""

    id: _Name
    class_: Annotated[str, reference("classes", "class"), Field(alias="class")]
    work: _Number | None = None
    run_time: _PositiveTime | None = None
    release: _Time = 0.0
    every: _Time = 0.0
    count: _Copies | None = None
    estimate: _PositiveTime | None = None
    deadline: _PositiveTime | None = None
    weight: _Number = 1.0
    tenant: _Name = "default"
    priority: _Priority = 0
    limit: _PositiveTime | None = None
    after: Annotated[list[_Name], one_or_more(), Field(max_length=10_000)] = Field(
        default_factory=list
    )
    at_once: _Copies | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.at_once is not None and self.count is None:
            raise refuse("at_once is for an array of jobs", "count: how many jobs")
        if (self.work is None) == (self.run_time is None):
            raise refuse("the work is given twice or not at all", "either work or run_time")
        last = self.release + self.every * ((self.count or 1) - 1)
        if self.deadline is not None and self.deadline <= last:
            raise refuse("deadline before release", f"a deadline after {last:g} s")
        if last > LONGEST_S:
            raise refuse("the last release is too late", f"at most {LONGEST_S:g} s")
        return self


class TenantSection(Section):
    """One entry of `tenants`."""

    share: _Number = 1.0
    quota: dict[_Type, Annotated[int, count(0)]] = Field(default_factory=dict)
    total: Annotated[int, count(0)] | None = None
    borrow: _Borrow = 0


class ServiceSection(Section):
    """One item of `services`."""

    name: _Name
    model: ModelSection | None = None
    profile: ProfileSection | None = None
    replica: _Replica
    demand: Any
    min_replicas: Annotated[int, count(0)] = 1
    load: _Time = 60.0
    ttft: _PositiveTime = 2.0
    tpot: _PositiveTime = 0.1
    prompt_tokens: _Number = 1024.0
    output_tokens: _Number = 128.0
    accelerators: Annotated[_Types, Field(min_length=1)] | None = None
    end: _PositiveTime | None = None
    tenant: _Name = "serving"
    arrivals: Annotated[str, choice("poisson", "steady")] | None = None
    concurrency: Annotated[int, count(1, 1_000_000)] | None = None
    headroom_probability: Annotated[float, number(_PROBABLE)] | None = None
    spare_replicas: Annotated[int, count(0, 1_000_000)] = 0
    availability: Annotated[float, number(_CHANCE)] = 0.0
    lengths: Annotated[list[_Length], Field(min_length=1, max_length=LENGTHS_CAP)] | None = None

    @model_validator(mode="after")
    def _one_physics(self) -> Self:
        if (self.model is None) == (self.profile is None):
            raise refuse("not one kind of physics", "exactly one of model, profile")
        if self.lengths is None:
            return self
        if self.model is None:
            raise refuse("a profile's rates are of one length", "lengths go with a model")
        if self.model_fields_set & {"prompt_tokens", "output_tokens"}:
            raise refuse(
                "the tokens of requests are given twice",
                "either lengths or prompt_tokens and output_tokens",
            )
        total = sum(share for share, _, _ in self.lengths)
        if abs(total - 1) > SHARE_ERROR:
            raise refuse(f"the shares of lengths sum to {total:.6g}", "shares that sum to 1")
        return self
