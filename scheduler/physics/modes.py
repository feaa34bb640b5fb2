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
from scheduler.physics.power import draw_w
from scheduler.physics.profiles import PACKED, SPREAD, ProfileTable
from scheduler.physics.recorded import RecordedRates, exposed_communication
from scheduler.physics.speed import sustained_flops
from scheduler.physics.spreads import Floor, Spread, legal_wherever

TABLE_BUSY = 0.8
"""Share of the time in which a job of a measured table computes; tables do not say. With it
an H100 draws 0.8 of the way to its peak: nodes of eight took 0.6-0.95 (MLPerf Training v4.0,
less 1.5 kW for the host)."""


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
        self._chosen: dict[Hashable, tuple[Mode, ...]] = {}
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
        asked = (question, tuple(permitted), gang, max_level)
        if asked not in self._answers:
            modes: list[Mode] = []
            missing: dict[str, str] = {}
            for t in permitted:
                curves = [self._remembered(question, rater, t, count) for count in gang]
                found = [
                    mode
                    for count, curve in zip(gang, curves, strict=True)
                    for mode in self._modes((question, t, count, max_level), curve)
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
            found = [m for curve in curves for m in _modes_within(curve, widest)]
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
        reference = self._reference(physics)
        question = (RunTimePhysics(reference.name if reference else ""), precision, recorded)

        def rater(t: int, count: int) -> Rater:
            if sustained_flops(self._floor.types[t], precision) <= 0:
                return lambda _: Refusal("has no floating-point peak")
            return lambda spread: self._recorded_rate(
                reference, recorded, precision, t, count, spread
            )

        return question, rater

    def _recorded_rate(
        self,
        reference: AcceleratorType | None,
        recorded_count: int,
        precision: str | None,
        t: int,
        count: int,
        spread: Spread,
    ) -> _Rated:
        kind, at = self._floor.types[t], (count, spread.per_node, spread.network)
        rate = self._recorded.rate(reference or kind, recorded_count, precision, t, *at)
        busy = 1 / (1 + exposed_communication(kind, *at, precision))
        return _Rated(rate, 0.0, count * draw_w(kind, busy))

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
            if isinstance(got, Refusal):
                return got
            return _Rated(got, 0.0, count * draw_w(kind, TABLE_BUSY))

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

    def _reference(self, physics: RunTimePhysics) -> AcceleratorType | None:
        if not physics.reference:
            return None  # the recorded run time is each type's own: no speed ratio is invented
        found = next((k for k in self._floor.types if _called(physics.reference, k)), None)
        if found is None:
            from scheduler.io.catalogue import find_accelerator

            found = find_accelerator(physics.reference)
        if sustained_flops(found) <= 0:
            raise InputError([Fault("reference type has no known peak rate", value=found.name)])
        return found

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

    def _modes(self, key: tuple[Hashable, int, int, int], curve: _Curve) -> tuple[Mode, ...]:
        if key not in self._chosen:
            self._chosen[key] = _modes_within(curve, key[-1])
        return self._chosen[key]

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


def _modes_within(curve: _Curve, max_level: int) -> tuple[Mode, ...]:
    """Return the modes within a level that no other makes pointless.

    A mode is pointless if another is legal wherever it is, and no slower.
    """
    best = max((rated.rate for _, rated in curve.shapes), default=0.0)
    legal = [(s, r) for s, r in curve.shapes if s.level <= max_level]
    return tuple(
        Mode(
            groups=(Group(curve.type_index, curve.count, spread.per_node),),
            level=spread.level,
            rate=rated.rate,
            best_rate=best,
            power_w=rated.power_w,
            memory_bytes=rated.memory_bytes,
        )
        for spread, rated in legal
        if not any(
            r.rate >= rated.rate and s is not spread and legal_wherever(s, spread, curve.count)
            for s, r in legal
        )
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
