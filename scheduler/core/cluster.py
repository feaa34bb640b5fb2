"""The cluster as declared: accelerator types, nodes, pods, fabrics, sites.

Everything here is input data. What follows from it (the interconnect graph, nested
domains, pools) is derived by `scheduler.physics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

OutageKind = Literal["down", "drain"]
FabricKind = Literal["tree", "fat_tree", "rail", "torus", "dragonfly", "edges"]


@dataclass(frozen=True, slots=True)
class AcceleratorType:
    """One kind of device, as data.

    Parameters
    ----------
    name : str
        Unique name, for example ``"H100-SXM"``.
    vendor, stack : str
        Maker, and the software stack (``cuda``, ``rocm``, ``cann``, ...) its programs need.
    memory_bytes : float
        Device memory.
    memory_bytes_per_s : float
        Device memory bandwidth.
    peak_flops : mapping of str to float
        Dense peak FLOP/s by precision (``fp32 tf32 bf16 fp16 fp8 int8 fp4``); a precision
        that is missing is not supported.
    scaleup_bytes_per_s : float
        Line rate of all scale-up links of one device, one direction.
    scaleup_devices : int
        Devices in one scale-up domain (1: none).
    devices_per_node : int
        Usual devices in one node.
    nic_bytes_per_s : float
        Usual scale-out rate per device, one direction.
    idle_w, peak_w : float
        Power when idle and at full load.
    price_usd, usd_per_hour : float or None
        Purchase price and rental price where known.
    year : int
        First year of delivery (0: unknown).
    export_status : str
        Sales restriction as published, free text.
    confidence : str
        ``high``, ``medium`` or ``low``.
    source : str
        Where the row comes from.
    aliases : tuple of str
        Other names found in traces and throughput tables (``v100``).
    prices_as_of : str
        When the prices were read, purchase before rental.
    """

    name: str
    vendor: str
    stack: str
    memory_bytes: float
    memory_bytes_per_s: float
    peak_flops: Mapping[str, float]
    scaleup_bytes_per_s: float
    idle_w: float
    peak_w: float
    scaleup_devices: int = 1
    devices_per_node: int = 8
    nic_bytes_per_s: float = 0.0
    price_usd: float | None = None
    usd_per_hour: float | None = None
    year: int = 0
    export_status: str = ""
    confidence: str = "medium"
    source: str = ""
    aliases: tuple[str, ...] = ()
    prices_as_of: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "peak_flops", MappingProxyType(dict(self.peak_flops)))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        values = [getattr(self, f) for f in self.__slots__]
        values[self.__slots__.index("peak_flops")] = dict(self.peak_flops)
        return (type(self), tuple(values))


@dataclass(frozen=True, slots=True)
class Node:
    """A host holding `count` accelerators of one type.

    Parameters
    ----------
    id : str
        Unique in the cluster.
    accelerator : str
        Name of its accelerator type.
    count : int
        Accelerators in the node.
    scaleup_bytes_per_s : float
        Per accelerator, one direction, inside the node.
    nic_bytes_per_s : float
        Per accelerator, one direction, out of the node.
    overhead_w : float
        Host power (CPUs, fans, NICs) while the node is on.
    labels : tuple of (str, str)
        What jobs may ask for, sorted by name (``("region", "eu")``).
    cpus, host_memory_bytes : float
        What jobs that ask for it may share; infinite: not counted.
    """

    id: str
    accelerator: str
    count: int
    scaleup_bytes_per_s: float
    nic_bytes_per_s: float
    overhead_w: float = 0.0
    labels: tuple[tuple[str, str], ...] = ()
    cpus: float = float("inf")
    host_memory_bytes: float = float("inf")


@dataclass(frozen=True, slots=True)
class Link:
    """An explicit cable of an ``edges`` fabric: full duplex, rate per direction."""

    a: str
    b: str
    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Fabric:
    """How the nodes of one pod are cabled. Fields that a kind does not use are ignored.

    Parameters
    ----------
    kind : str
        ``tree`` one or two switch tiers with a taper; ``fat_tree`` leaf-spine Clos;
        ``rail`` rail-optimised leaf-spine (accelerator r of each node on leaf r);
        ``torus`` neighbour links between nodes; ``dragonfly`` groups joined all to all;
        ``edges`` the listed links.
    nodes_per_leaf : int
        Nodes below one leaf switch (or one rail group, or one dragonfly group);
        0: all nodes of the pod.
    taper : float
        Oversubscription of a leaf's uplinks: 1 is non-blocking, 4 means a quarter.
    latency_s : float
        One switch hop.
    shape : tuple of int
        Torus sides in nodes, for example ``(4, 4, 4)``; product at least the node count.
    link_bytes_per_s : float
        Torus and dragonfly: rate of one neighbour or global link, one direction.
    links : tuple of Link
        ``edges`` only: cables between node ids and free switch names.
    """

    kind: FabricKind
    nodes_per_leaf: int = 0
    taper: float = 1.0
    latency_s: float = 3e-6
    shape: tuple[int, ...] = ()
    link_bytes_per_s: float = 0.0
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """Nodes behind one fabric, in one site.

    Parameters
    ----------
    name, site : str
        Unique pod name; name of its site.
    nodes : tuple of Node
        In file order.
    fabric : Fabric
        Cabling inside the pod.
    uplink_bytes_per_s : float
        Total rate from this pod towards the other pods of its site, one direction
        (the thin spine); 0: no connection.
    """

    name: str
    site: str
    nodes: tuple[Node, ...]
    fabric: Fabric
    uplink_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """A place with one power feed.

    Parameters
    ----------
    name : str
        Unique.
    power_cap_w : float or None
        Most that accelerators and nodes may draw together (before PUE); None: no cap.
    pue : float
        Facility power over IT power.
    usd_per_kwh, carbon_g_per_kwh : tuple of float
        Either one value or 24 by hour of the day.
    wan_bytes_per_s, wan_latency_s : float
        Connection of the site towards the other sites; rate 0: none.
    """

    name: str
    power_cap_w: float | None = None
    pue: float = 1.3
    usd_per_kwh: tuple[float, ...] = (0.10,)
    carbon_g_per_kwh: tuple[float, ...] = (400.0,)
    wan_bytes_per_s: float = 0.0
    wan_latency_s: float = 0.02


@dataclass(frozen=True, slots=True)
class Outage:
    """A node that is out of use from `start_s` to `end_s`.

    Parameters
    ----------
    node : str
        Node id.
    start_s, end_s : float
        Half-open.
    kind : {"down", "drain"}
        ``down``: switched off, whatever runs there is lost like in a failure. ``drain``:
        nothing new starts there; what runs goes on to its end, and so does the power.
    """

    node: str
    start_s: float
    end_s: float
    kind: OutageKind = "down"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes kept for some over a window.

    As it begins, preemptible jobs of others are preempted there and replicas stopped; jobs
    that are not preemptible go on to their end. While it lasts, nothing of others starts.

    Parameters
    ----------
    name : str
        Unique.
    nodes : tuple of str
        Node ids.
    start_s, end_s : float
        Half-open.
    tenants, jobs : tuple of str
        Tenants and job ids that may use them.
    """

    name: str
    nodes: tuple[str, ...]
    start_s: float
    end_s: float
    tenants: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureModel:
    """Random failures; times between failures are exponential, repair times lognormal.

    Parameters
    ----------
    node_mtbf_s : float
        Mean time between failures of one node; infinity: never.
    repair_s : float
        Median repair time of a node; repair times are lognormal with `repair_sigma`.
    repair_sigma : float
        Of every repair time.
    accelerator_mtbf_s, accelerator_repair_s : float
        The same of one accelerator: the gang on it is lost, the rest of the node works on.
    switch_mtbf_s, switch_repair_s : float
        The same of one switch, which takes along every node of its domain: the innermost
        level above the node.
    crash_accelerator_s : float
        Mean accelerator-time that a job holds between two crashes of its own (software,
        network, user): it loses what came after its last checkpoint, no node goes down.
    """

    node_mtbf_s: float = float("inf")
    repair_s: float = 4 * 3600.0
    repair_sigma: float = 0.8
    accelerator_mtbf_s: float = float("inf")
    accelerator_repair_s: float = 12 * 3600.0
    switch_mtbf_s: float = float("inf")
    switch_repair_s: float = 2 * 3600.0
    crash_accelerator_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A fleet as declared in a topology file.

    Parameters
    ----------
    name, title : str
        Short name and a line for people.
    accelerators : mapping of str to AcceleratorType
        Types used by the nodes.
    pods : tuple of Pod
        In file order.
    sites : tuple of Site
        Every site a pod names.
    outages : tuple of Outage
        Known maintenance.
    failures : FailureModel
        Random failures (off by default).
    spine_latency_s : float
        Latency between two pods of one site.
    source, licence : str
        Where the figures come from.
    reservations : tuple of Reservation
        Nodes kept for some.
    """

    name: str
    title: str
    accelerators: Mapping[str, AcceleratorType]
    pods: tuple[Pod, ...]
    sites: tuple[Site, ...]
    outages: tuple[Outage, ...] = ()
    failures: FailureModel = field(default_factory=FailureModel)
    spine_latency_s: float = 5e-6
    source: str = ""
    licence: str = ""
    reservations: tuple[Reservation, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "accelerators", MappingProxyType(dict(self.accelerators)))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        values = [getattr(self, f) for f in self.__slots__]
        values[self.__slots__.index("accelerators")] = dict(self.accelerators)
        return (type(self), tuple(values))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, pod by pod, in file order; a node's position is its index."""
        return tuple(n for p in self.pods for n in p.nodes)

    @property
    def accelerator_count(self) -> int:
        """Accelerators in the fleet."""
        return sum(n.count for n in self.nodes)
