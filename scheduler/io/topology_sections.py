"""The sections of a topology file, field by field, for pydantic.

`scheduler.io.topology` describes the file and turns checked sections into a Cluster.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from scheduler.core.cluster import FabricKind
from scheduler.core.units import HOUR_S
from scheduler.io import catalogue
from scheduler.io.quantities import (
    BYTES,
    BYTES_PER_S,
    CARBON,
    FLOPS,
    MONEY,
    POSITIVE,
    POWER,
    RENT,
    TARIFF,
    TIME,
    Span,
)
from scheduler.io.schema import (
    Section,
    choice,
    count,
    name,
    number,
    one_or_more,
    quantity,
    reference,
    refuse,
    text,
)

NODE_CAP: Final = 200_000
PER_NODE_CAP: Final = 1024
_HOURS: Final = 24


def _one_or_24(values: list[float]) -> list[float]:
    if len(values) not in (1, _HOURS):
        raise refuse("wrong number of values", f"one value, or {_HOURS} by hour of the day")
    return values


_Tariff = Annotated[
    list[Annotated[float, quantity(TARIFF)]], one_or_more(), AfterValidator(_one_or_24)
]
_Carbon = Annotated[
    list[Annotated[float, quantity(CARBON)]], one_or_more(), AfterValidator(_one_or_24)
]
_Rate = Annotated[float, quantity(BYTES_PER_S)]
_PositiveRate = Annotated[float, quantity(BYTES_PER_S, POSITIVE)]
_Time = Annotated[float, quantity(TIME)]
_Power = Annotated[float, quantity(POWER)]
_Text = Annotated[str, text]
_Name = Annotated[str, name]


class HeadSection(Section):
    """The fields of the file itself."""

    schema_: Annotated[str, text, Field(alias="schema")]
    title: _Text
    source: _Text = ""
    licence: _Text = ""
    spine_latency: _Time = 5e-6
    sites: Any
    accelerators: Any = None
    pods: Any
    outages: Any = None
    failures: Any = None
    reservations: Any = None


class WanSection(Section):
    """A site's line to the other sites."""

    rate: _PositiveRate
    latency: _Time = 0.02


class SiteSection(Section):
    """One item of `sites`."""

    name: _Name
    power_cap: Annotated[float, quantity(POWER, POSITIVE)] | None = None
    pue: Annotated[float, number(Span(1.0, 5.0))] = 1.3
    tariff: _Tariff = Field(default_factory=lambda: [0.10])
    carbon: _Carbon = Field(default_factory=lambda: [400.0])
    wan: WanSection | None = None


class AcceleratorSection(Section):
    """One entry of `accelerators`; what is not given comes from the catalogue."""

    like: Annotated[str, reference("catalogue", "accelerator type")] | None = None
    vendor: _Text | None = None
    stack: _Name | None = None
    memory: Annotated[float, quantity(BYTES, POSITIVE)] | None = None
    memory_rate: _PositiveRate | None = None
    peak: (
        dict[
            Annotated[str, choice(*catalogue.PRECISIONS)],
            Annotated[float, quantity(FLOPS, POSITIVE)],
        ]
        | None
    ) = None
    scaleup: _Rate | None = None
    scaleup_devices: Annotated[int, count()] | None = None
    devices_per_node: Annotated[int, count(1, PER_NODE_CAP)] | None = None
    nic: _Rate | None = None
    idle: _Power | None = None
    full: Annotated[float, quantity(POWER, POSITIVE)] | None = None
    price: Annotated[float, quantity(MONEY)] | None = None
    rent: Annotated[float, quantity(RENT)] | None = None
    year: Annotated[int, count(1970, 2100)] | None = None
    export_status: _Text | None = None
    confidence: Annotated[str, choice(*catalogue.CONFIDENCES)] | None = None
    source: _Text | None = None
    aliases: list[_Name] | None = None
    slices: Annotated[int, count(1, 64)] = 1


class NodesSection(Section):
    """One item of a pod's `nodes`: alike hosts."""

    accelerator: Annotated[str, reference("accelerators", "accelerator type")]
    nodes: Annotated[int, count(1, NODE_CAP)] | None = None
    names: Annotated[list[_Name], Field(min_length=1)] | None = None
    per_node: Annotated[int, count(1, PER_NODE_CAP)] | None = None
    nic: _Rate | None = None
    scaleup: _Rate | None = None
    overhead: _Power = 0.0
    prefix: _Name = "n"
    labels: dict[_Name, _Name] = Field(default_factory=dict)
    cpus: Annotated[float, number(POSITIVE)] = math.inf
    host_memory: Annotated[float, quantity(BYTES, POSITIVE)] = math.inf

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.nodes is None) == (self.names is None):
            raise refuse("how many nodes is said twice or not at all", "either nodes or names")
        return self


class CableSection(Section):
    """One item of an edges fabric's `links`."""

    a: _Name
    b: _Name
    rate: _PositiveRate
    latency: _Time = 0.0


class FabricSection(Section):
    """A pod's `fabric`."""

    kind: Annotated[FabricKind, choice(*get_args(FabricKind))]
    nodes_per_leaf: Annotated[int, count(1, NODE_CAP)] = 0
    taper: Annotated[float, number(Span(1.0, 1000.0))] = 1.0
    latency: _Time = 3e-6
    shape: list[Annotated[int, count(1, NODE_CAP)]] = Field(
        default_factory=list, min_length=1, max_length=6
    )
    link: _PositiveRate = 0.0
    links: list[CableSection] = Field(default_factory=list, min_length=1)


class PodSection(Section):
    """One item of `pods`."""

    name: _Name
    repeat: Annotated[int, count(1, NODE_CAP)] | None = None
    site: Annotated[str, reference("sites", "site")]
    uplink: _Rate = 0.0
    fabric: FabricSection
    nodes: Annotated[list[NodesSection], Field(min_length=1)]


class OutageSection(Section):
    """One item of `outages`."""

    node: _Name | None = None
    nodes: Annotated[list[_Name], Field(min_length=1)] | None = None
    start: _Time
    end: Annotated[float, quantity(TIME, POSITIVE)]
    kind: Annotated[Literal["down", "drain"], choice("down", "drain")] = "down"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.node is None) == (self.nodes is None):
            raise refuse("the node is said twice or not at all", "either node or nodes")
        if self.end <= self.start:
            raise refuse("the outage ends before it starts", "an end after start")
        return self


class ReservationSection(Section):
    """One item of `reservations`."""

    name: _Name
    nodes: Annotated[list[_Name], one_or_more(), Field(min_length=1)]
    start: _Time
    end: Annotated[float, quantity(TIME, POSITIVE)]
    tenants: Annotated[list[_Name], one_or_more()] = Field(default_factory=list)
    jobs: Annotated[list[_Name], one_or_more()] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.end <= self.start:
            raise refuse("the reservation ends before it starts", "an end after start")
        return self


class FailuresSection(Section):
    """The `failures` of the file."""

    node_mtbf: Annotated[float, quantity(TIME, POSITIVE)] = math.inf
    repair: Annotated[float, quantity(TIME, POSITIVE)] = 4 * HOUR_S
    repair_sigma: Annotated[float, number(Span(0.0, 5.0))] = 0.8
    accelerator_mtbf: Annotated[float, quantity(TIME, POSITIVE)] = math.inf
    accelerator_repair: Annotated[float, quantity(TIME, POSITIVE)] = 12 * HOUR_S
    switch_mtbf: Annotated[float, quantity(TIME, POSITIVE)] = math.inf
    switch_repair: Annotated[float, quantity(TIME, POSITIVE)] = 2 * HOUR_S
    job_mtbf: Annotated[float, quantity(TIME, POSITIVE)] = math.inf

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set & {"node_mtbf", "accelerator_mtbf", "switch_mtbf", "job_mtbf"}:
            raise refuse("nothing fails", "node_mtbf, accelerator_mtbf, switch_mtbf or job_mtbf")
        return self
