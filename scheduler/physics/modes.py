"""The modes of job classes and services: every way each may run, and how fast.

Physics comes in three kinds - a model description, a measured table, a recorded run time -
and all three end here as rates of shapes (`spreads.Spread`). Everything is computed once per
distinct question, so that ten thousand jobs cost no more than the ways in which they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.model import Model
from scheduler.core.problem import Group, Mode
from scheduler.core.units import GIB
from scheduler.core.workload import (
    JobClass,
    ModelPhysics,
    ProfilePhysics,
    RunTimePhysics,
    Service,
    Workload,
)
from scheduler.physics.network import Refusal
from scheduler.physics.profiles import PACKED, SPREAD, ProfileTable
from scheduler.physics.recorded import RecordedRates
from scheduler.physics.speed import sustained_flops
from scheduler.physics.spreads import Floor, Spread, legal_wherever

BUSY_SHARE = 0.8
"""Part of the way from idle to peak power that a training accelerator draws. Nodes of eight
H100 drew 5.1-7.1 kW in MLPerf Training v4.0; without 1.5 kW for the host that is 0.6-0.95."""


@dataclass(frozen=True, slots=True)
class _Rated:
    """Work per second of a gang, bytes needed on each accelerator (0: unknown), its power."""

    rate: float
    memory_bytes: float
    power_w: float


Rater = Callable[[Spread], _Rated | Refusal]


@dataclass(frozen=True, slots=True)
class _Curve:
    """Rates of every shape of one count on one type, or why there are none."""

    type_index: int
    count: int
    shapes: tuple[tuple[Spread, _Rated], ...]
    reason: str


def draw_w(accelerator: AcceleratorType, count: int) -> float:
    """Return the power of `count` busy accelerators, in watts, without their hosts."""
    span = accelerator.peak_w - accelerator.idle_w
    return count * (accelerator.idle_w + span * BUSY_SHARE)


class ModeBuilder:
    """Builds and remembers the modes of one workload on one fleet.

    Parameters
    ----------
    floor : Floor
        Where gangs fit.
    workload : Workload
        Its tables and models.
    """

    def __init__(self, floor: Floor, workload: Workload) -> None:
        self._floor = floor
        self._workload = workload
        self._recorded = RecordedRates(floor)
        self._tables = {name: ProfileTable(table) for name, table in workload.profiles.items()}
        self._curves: dict[Hashable, _Curve] = {}
        self._chosen: dict[Hashable, tuple[tuple[Spread, _Rated], ...]] = {}
        self._answers: dict[Hashable, tuple[tuple[Mode, ...], dict[str, str]]] = {}

    def of_class(
        self, job_class: JobClass, max_level: int
    ) -> tuple[tuple[Mode, ...], dict[str, str]]:
        """Return the modes of a class by descending rate, and refusals by type name.

        Parameters
        ----------
        job_class : JobClass
            The class.
        max_level : int
            Widest level it may use.

        Raises
        ------
        InputError
            It names a model, table or reference type that does not exist.
        """
        refusals: dict[str, str] = {}
        permitted: list[int] = []
        for t, kind in enumerate(self._floor.types):
            reason = _unfit(job_class, kind)
            if reason:
                refusals[kind.name] = reason
            else:
                permitted.append(t)
        if not permitted:
            return (), refusals
        question, rater = self._physics(job_class, tuple(permitted))
        gang = tuple(sorted(set(job_class.gang)))
        asked = (question, tuple(permitted), gang, max_level, job_class.memory_bytes)
        if asked not in self._answers:
            modes: list[Mode] = []
            missing: dict[str, str] = {}
            for t in permitted:
                curves = [self._remembered(question, rater, t, count) for count in gang]
                found = [
                    mode
                    for count, curve in zip(gang, curves, strict=True)
                    for mode in self._modes(
                        (question, t, count), curve, max_level, job_class.memory_bytes
                    )
                ]
                modes += found
                if not found:
                    missing[self._floor.types[t].name] = self._why_not(t, gang, curves, max_level)
            modes.sort(key=_descending_rate)
            self._answers[asked] = tuple(modes), missing
        answer, missing = self._answers[asked]
        return answer, refusals | missing

    def of_service(self, service: Service) -> tuple[tuple[Mode, ...], dict[str, str]]:
        """Return replica modes by descending rate per accelerator, and refusals by type name.

        A replica stands on the fewest nodes; only its level varies.
        """
        refusals: dict[str, str] = {}
        modes: list[Mode] = []
        widest = len(self._floor.levels) - 1
        for t, kind in enumerate(self._floor.types):
            if not _permits(service.accelerators, kind):
                refusals[kind.name] = "not among the permitted accelerators"
                continue
            counts = tuple(sorted(set(service.replica)))
            curves = [
                self._curve(t, count, self._replica_rater(service, t, count), fewest=True)
                for count in counts
            ]
            found = [m for curve in curves for m in _as_modes(curve, _undominated(curve, widest))]
            modes += found
            if not found:
                refusals[kind.name] = self._why_not(t, counts, curves, widest)
        modes.sort(key=lambda m: (-m.rate / m.count, *_descending_rate(m)[1:]))
        return tuple(modes), refusals

    # --- rates of shapes -------------------------------------------------------------------

    def _physics(
        self, job_class: JobClass, permitted: tuple[int, ...]
    ) -> tuple[tuple[Hashable, ...], Callable[[int, int], Rater]]:
        """Return what identifies the class's rates, and how to get them by (type, count)."""
        physics = job_class.physics
        if isinstance(physics, ModelPhysics):
            return (physics,), lambda t, count: self._model_rater(physics, t, count)
        if isinstance(physics, ProfilePhysics):
            table = self._table(physics)
            return (physics,), lambda t, count: self._table_rater(table, physics.job_type, t, count)
        precision, recorded = job_class.precision, job_class.gang[0]
        reference = self._reference(physics, permitted, precision)
        question = (RunTimePhysics(reference.name), precision, recorded)

        def rater(t: int, count: int) -> Rater:
            if sustained_flops(self._floor.types[t], precision) <= 0:
                return lambda _: Refusal("has no floating-point peak")
            draw = draw_w(self._floor.types[t], count)
            return lambda spread: _Rated(
                self._recorded.rate(
                    reference, recorded, precision, t, count, spread.per_node, spread.network
                ),
                0.0,
                draw,
            )

        return question, rater

    def _model_rater(self, physics: ModelPhysics, t: int, count: int) -> Rater:
        from scheduler.physics.training import training_estimate

        model = self._model(physics)
        kind = self._floor.types[t]

        def rate(spread: Spread) -> _Rated | Refusal:
            got = training_estimate(model, physics, kind, count, spread.per_node, spread.network)
            if isinstance(got, Refusal):
                return got
            return _Rated(got.work_per_s, got.memory_bytes, got.power_w)

        return rate

    def _table_rater(self, table: ProfileTable, job_type: str, t: int, count: int) -> Rater:
        kind = self._floor.types[t]

        def rate(spread: Spread) -> _Rated | Refusal:
            got = table.rate(job_type, kind, count, PACKED if spread.packed else SPREAD)
            return got if isinstance(got, Refusal) else _Rated(got, 0.0, draw_w(kind, count))

        return rate

    def _replica_rater(self, service: Service, t: int, count: int) -> Rater:
        physics = service.physics
        if isinstance(physics, ProfilePhysics):
            return self._table_rater(self._table(physics), physics.job_type, t, count)
        from scheduler.physics.inference import replica_estimate

        model = self._model(physics)
        kind = self._floor.types[t]

        def rate(spread: Spread) -> _Rated | Refusal:
            got = replica_estimate(model, service, kind, count, spread.network)
            if isinstance(got, Refusal):
                return got
            return _Rated(got.requests_per_s, got.memory_bytes, got.power_w)

        return rate

    def _table(self, physics: ProfilePhysics) -> ProfileTable:
        if physics.table not in self._tables:
            near = nearest_name(physics.table, self._tables)
            fault = Fault("unknown throughput table", value=physics.table, nearest=near)
            raise InputError([fault])
        return self._tables[physics.table]

    def _model(self, physics: ModelPhysics) -> Model:
        models = self._workload.models
        if physics.model in models:
            return models[physics.model]
        from scheduler.io.catalogue import find_model

        return find_model(physics.model)

    def _reference(
        self, physics: RunTimePhysics, permitted: tuple[int, ...], precision: str | None
    ) -> AcceleratorType:
        if not physics.reference:
            return self._recorded.slowest(permitted, precision)
        for kind in self._floor.types:
            if _called(physics.reference, kind):
                return kind
        from scheduler.io.catalogue import find_accelerator

        return find_accelerator(physics.reference)

    # --- from rates to modes ---------------------------------------------------------------

    def _curve(self, t: int, count: int, rate: Rater, fewest: bool = False) -> _Curve:
        """Rate every shape; `fewest` keeps those on the fewest nodes."""
        spreads = self._floor.spreads(t, count)
        shapes: list[tuple[Spread, _Rated]] = []
        reason = ""
        for spread in spreads:
            if fewest and spread.per_node != spreads[0].per_node:
                continue
            got = rate(spread)
            if isinstance(got, Refusal):
                reason = reason or got.reason
            elif got.rate > 0:
                shapes.append((spread, got))
        return _Curve(t, count, tuple(shapes), "" if shapes else reason)

    def _remembered(
        self,
        question: Hashable,
        rater: Callable[[int, int], Rater],
        t: int,
        count: int,
    ) -> _Curve:
        key = (question, t, count)
        if key not in self._curves:
            self._curves[key] = self._curve(t, count, rater(t, count))
        return self._curves[key]

    def _modes(
        self, key: Hashable, curve: _Curve, max_level: int, memory_bytes: float
    ) -> tuple[Mode, ...]:
        if (key, max_level) not in self._chosen:
            self._chosen[key, max_level] = _undominated(curve, max_level)
        return _as_modes(curve, self._chosen[key, max_level], memory_bytes)

    def _why_not(
        self, t: int, counts: tuple[int, ...], curves: list[_Curve], max_level: int
    ) -> str:
        """Say what physics refused, or that no domain within `max_level` holds the gang."""
        for curve in curves:
            if curve.reason:
                return curve.reason
        most = max(self._floor.most(t, level) for level in range(max_level + 1))
        where = self._floor.levels[max_level]
        return f"needs {counts[0]} accelerators in one {where}, the largest has {most}"


def _undominated(curve: _Curve, max_level: int) -> tuple[tuple[Spread, _Rated], ...]:
    """Return the shapes within a level that no other shape makes pointless."""
    legal = [(s, r) for s, r in curve.shapes if s.level <= max_level]
    return tuple(
        (spread, rated)
        for spread, rated in legal
        if not any(
            r.rate >= rated.rate and s is not spread and legal_wherever(s, spread, curve.count)
            for s, r in legal
        )
    )


def _as_modes(
    curve: _Curve, chosen: tuple[tuple[Spread, _Rated], ...], memory_bytes: float = 0.0
) -> tuple[Mode, ...]:
    best = max((rated.rate for _, rated in curve.shapes), default=0.0)
    return tuple(
        Mode(
            groups=(Group(curve.type_index, curve.count, spread.per_node),),
            level=spread.level,
            rate=rated.rate,
            best_rate=best,
            power_w=rated.power_w,
            memory_bytes=max(rated.memory_bytes, memory_bytes),
        )
        for spread, rated in chosen
    )


def _descending_rate(mode: Mode) -> tuple[float, int, int, int, int]:
    group = mode.groups[0]
    return (-mode.rate, mode.level, group.type_index, -group.per_node, group.count)


def _called(name: str, kind: AcceleratorType) -> bool:
    return name.casefold() in (n.casefold() for n in (kind.name, *kind.aliases))


def _permits(accelerators: tuple[str, ...] | None, kind: AcceleratorType) -> bool:
    return accelerators is None or any(_called(name, kind) for name in accelerators)


def _unfit(job_class: JobClass, kind: AcceleratorType) -> str:
    """Return why a class may not use a type whatever the gang, or ``""``."""
    if not _permits(job_class.accelerators, kind):
        return "not among the permitted accelerators"
    if job_class.stacks is not None and kind.stack not in job_class.stacks:
        return f"built for {' or '.join(job_class.stacks)}, the type needs {kind.stack}"
    if job_class.precision is not None and not kind.peak_flops.get(job_class.precision):
        return f"does not support {job_class.precision}"
    if job_class.memory_bytes > kind.memory_bytes:
        need, has = job_class.memory_bytes / GIB, kind.memory_bytes / GIB
        return f"needs {need:.4g} GiB per accelerator, the type has {has:.4g} GiB"
    return ""
