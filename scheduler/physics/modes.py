"""The modes of job classes and services: every way each may run, and how fast.

Physics comes in three kinds - a model description, a measured table, a recorded run time -
and all three end here as rates of shapes (`scheduler.physics.shapes`). Everything is computed
once per distinct question, so that ten thousand jobs cost no more than the ways in which
they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np

from scheduler.core.cluster import AcceleratorType
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.model import Model
from scheduler.core.problem import Mode
from scheduler.core.units import GIB, WHOLE_MILLI
from scheduler.core.workload import (
    FloatArray,
    IntArray,
    JobClass,
    ModelPhysics,
    ProfilePhysics,
    RunTimePhysics,
    Service,
    Workload,
)
from scheduler.physics.gang_rates import Places, gang_rates, most_tensor, places_of
from scheduler.physics.network import Network, Refusal
from scheduler.physics.power import UNSTATED_BUSY, draw_w
from scheduler.physics.profiles import ProfileTable
from scheduler.physics.recorded import RecordedRates
from scheduler.physics.shapes import Curve, Rates, Shapes, modes_of, shapes_of
from scheduler.physics.share_modes import shares_of
from scheduler.physics.speed import sustained_flops
from scheduler.physics.spreads import Floor
from scheduler.physics.training import training_job

Reason = Callable[[int], str]
"""Why a shape, by its position, has no rate."""


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
        self._permitted: dict[Hashable, tuple[tuple[int, ...], dict[str, str]]] = {}
        self._references: dict[str, AcceleratorType] = {}
        self._shapes: dict[Hashable, Shapes] = {}
        self._places: dict[Hashable, tuple[Shapes, Places, IntArray]] = {}
        self._rates: dict[Hashable, tuple[Rates, Reason]] = {}
        self._mixes: dict[Hashable, tuple[Mode, ...]] = {}
        self._draws: dict[int, tuple[Shapes, FloatArray]] = {}
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
        if job_class.share_milli < WHOLE_MILLI:
            whole = replace(job_class, share_milli=WHOLE_MILLI)
            return shares_of(job_class, self._floor.types, *self.of_class(whole, max_level))
        permitted, refusals = self._fitting_types(job_class)
        if not permitted:
            return (), refusals
        gang = tuple(sorted(set(job_class.gang)))
        # recorded run times cost next to nothing: all types are rated once for all classes
        recorded = isinstance(job_class.physics, RunTimePhysics)
        types = tuple(range(len(self._floor.types))) if recorded else permitted
        asked = (self._question(job_class), types, gang, max_level)
        if asked not in self._answers:
            shapes = self._shapes_of(types, gang)
            question = asked[:-1]
            if question not in self._rates:
                self._rates[question] = self._rated(job_class, shapes)
            self._answers[asked] = self._answer(shapes, *self._rates[question], max_level)
        answer, missing = self._answers[asked]
        if len(permitted) < len(types):
            within = frozenset(permitted)
            names = {self._floor.types[t].name for t in permitted}
            answer = tuple([m for m in answer if m.groups[0].type_index in within])
            missing = {name: why for name, why in missing.items() if name in names}
        if job_class.mixed_types > 1:
            mixed = self._mixed(job_class, permitted, gang, max_level)
            used = {self._floor.types[g.type_index].name for m in mixed for g in m.groups}
            missing = {name: why for name, why in missing.items() if name not in used}
            answer = tuple(sorted((*answer, *mixed), key=lambda m: (-m.rate, *_place(m))))
        return answer, refusals | missing

    def of_service(self, service: Service) -> tuple[tuple[Mode, ...], dict[str, str]]:
        """Return replica modes by descending rate per accelerator, and refusals by type name.

        A replica stands on the fewest nodes; only its level varies.
        """
        refusals: dict[str, str] = {}
        permitted: list[int] = []
        for t, kind in enumerate(self._floor.types):
            if _permits(service.accelerators, kind):
                permitted.append(t)
            else:
                refusals[kind.name] = "not among the permitted accelerators"
        counts = tuple(sorted(set(service.replica)))
        shapes = shapes_of(self._floor, permitted, counts, fewest=True)
        widest = len(self._floor.levels) - 1
        modes, missing = self._answer(shapes, *self._replica_rates(service, shapes), widest)
        modes = tuple(sorted(modes, key=lambda m: (-m.rate / m.count, *_place(m))))
        return modes, refusals | missing

    # --- rates of shapes -------------------------------------------------------------------

    def _fitting_types(self, job_class: JobClass) -> tuple[tuple[int, ...], dict[str, str]]:
        key = (
            job_class.accelerators,
            job_class.stacks,
            job_class.precision,
            job_class.memory_bytes,
        )
        if key not in self._permitted:
            reasons = [_unfit(job_class, kind) for kind in self._floor.types]
            names = [kind.name for kind in self._floor.types]
            self._permitted[key] = (
                tuple(t for t, reason in enumerate(reasons) if not reason),
                {name: reason for name, reason in zip(names, reasons, strict=True) if reason},
            )
        return self._permitted[key]

    def _shapes_of(self, permitted: tuple[int, ...], gang: tuple[int, ...]) -> Shapes:
        key = (permitted, gang)
        if key not in self._shapes:
            self._shapes[key] = shapes_of(self._floor, permitted, gang)
        return self._shapes[key]

    def _question(self, job_class: JobClass) -> Hashable:
        """Return what identifies the rates of a class besides its types and gang sizes."""
        physics = job_class.physics
        if isinstance(physics, RunTimePhysics):
            reference = self._reference(physics)
            name = reference.name if reference else ""
            return RunTimePhysics(name), job_class.precision, job_class.gang[0]
        return physics

    def _rated(self, job_class: JobClass, shapes: Shapes) -> tuple[Rates, Reason]:
        physics = job_class.physics
        if isinstance(physics, ModelPhysics):
            return self._model_rates(physics, shapes)
        if isinstance(physics, ProfilePhysics):
            return self._table_rates(physics, shapes)
        rates = self._recorded.rates(
            shapes, self._reference(physics), job_class.gang[0], job_class.precision
        )
        return rates, lambda _: "has no floating-point peak"

    def _model_rates(self, physics: ModelPhysics, shapes: Shapes) -> tuple[Rates, Reason]:
        """Rate all shapes of a count at once."""
        job = training_job(self._model(physics), physics)
        columns = np.zeros((3, len(shapes.spreads)))
        reasons: dict[int, str] = {}
        for start, stop in _count_ranges(shapes):
            places, place_of = self._places_of(shapes, start, stop)
            found = gang_rates(job, shapes.groups[start].count, places)
            rated = np.stack([found.work_per_s, found.memory_bytes, found.power_w])
            columns[:, start:stop] = rated[:, place_of]
            for curve in shapes.curves:
                at = range(curve.start, curve.stop)
                if start <= curve.start < stop and not columns[0, at.start : at.stop].any():
                    got = found.estimate(int(place_of[curve.start - start])) if at else None
                    reasons[curve.start] = got.reason if isinstance(got, Refusal) else ""
        return Rates(columns[0], columns[1], columns[2]), lambda i: reasons.get(i, "")

    def _places_of(self, shapes: Shapes, start: int, stop: int) -> tuple[Places, IntArray]:
        """Return the distinct places of some shapes, and which one each shape is."""
        key = (id(shapes), start)
        if key not in self._places:
            distinct: dict[tuple[int, int, Network], int] = {}
            place_of = [
                distinct.setdefault(
                    (g.type_index, most_tensor(s.per_node, s.network), s.network), len(distinct)
                )
                for g, s in zip(shapes.groups[start:stop], shapes.spreads[start:stop], strict=True)
            ]
            places = places_of([(self._floor.types[t], n, link) for t, n, link in distinct])
            self._places[key] = shapes, places, np.array(place_of, dtype=np.int64)
        return self._places[key][1:]

    def _table_rates(self, physics: ProfilePhysics, shapes: Shapes) -> tuple[Rates, Reason]:
        """Look up one packed and one spread rate of each count and type."""
        table = self._table(physics)
        pairs = np.zeros((2, len(shapes.curves)))
        reasons: dict[int, str] = {}
        for c, curve in enumerate(shapes.curves):
            if curve.stop == curve.start:
                continue
            kind = self._floor.types[curve.type_index]
            found = table.rates(physics.job_type, kind, curve.count)
            for row, got in enumerate(found):
                if not isinstance(got, Refusal):
                    pairs[row, c] = got
                elif shapes.packed[curve.start] == (row == 0):
                    reasons[curve.start] = got.reason
        packed, apart = pairs[:, shapes.curve_of]
        rate = np.where(shapes.packed, packed, apart)
        if id(shapes) not in self._draws:
            watts = [
                group.count * draw_w(self._floor.types[group.type_index], UNSTATED_BUSY)
                for group in shapes.groups
            ]
            self._draws[id(shapes)] = shapes, np.array(watts)
        power_w = self._draws[id(shapes)][1]
        return Rates(rate, np.zeros_like(rate), power_w), lambda i: reasons.get(i, "")

    def _replica_rates(self, service: Service, shapes: Shapes) -> tuple[Rates, Reason]:
        physics = service.physics
        if isinstance(physics, ProfilePhysics):
            return self._table_rates(physics, shapes)
        from scheduler.physics.inference import replica_estimate

        model = self._model(physics)
        rows: list[tuple[float, float, float]] = []
        reasons: dict[int, str] = {}
        for i, (group, spread) in enumerate(zip(shapes.groups, shapes.spreads, strict=True)):
            kind = self._floor.types[group.type_index]
            got = replica_estimate(model, service, kind, group.count, spread.network)
            if isinstance(got, Refusal):
                reasons[i] = got.reason
                rows.append((0.0, 0.0, 0.0))
            else:
                rows.append((got.requests_per_s, got.memory_bytes, got.power_w))
        table = np.array(rows).reshape(-1, 3)
        return Rates(table[:, 0], table[:, 1], table[:, 2]), lambda i: reasons.get(i, "")

    def _mixed(
        self,
        job_class: JobClass,
        permitted: tuple[int, ...],
        gang: tuple[int, ...],
        max_level: int,
    ) -> tuple[Mode, ...]:
        """Return modes that mix types."""
        physics = job_class.physics
        if not isinstance(physics, ModelPhysics):
            message = "only jobs described by a model may mix accelerator types"
            raise InputError(
                [Fault(message, path="mixed_types", value=str(job_class.mixed_types), allowed="1")]
            )
        from scheduler.physics.mixed_modes import mixed_modes

        asked = (permitted, gang, max_level, job_class.mixed_types)
        if (physics, asked) not in self._mixes:
            model = self._model(physics)
            self._mixes[physics, asked] = mixed_modes(self._floor, model, physics, *asked)
        return self._mixes[physics, asked]

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
        if physics.reference not in self._references:
            self._references[physics.reference] = self._find_reference(physics)
        return self._references[physics.reference]

    def _find_reference(self, physics: RunTimePhysics) -> AcceleratorType:
        found = next((k for k in self._floor.types if _called(physics.reference, k)), None)
        if found is None:
            from scheduler.io.catalogue import find_accelerator

            found = find_accelerator(physics.reference)
        if sustained_flops(found) <= 0:
            raise InputError([Fault("reference type has no known peak rate", value=found.name)])
        return found

    # --- from rates to modes ---------------------------------------------------------------

    def _answer(
        self, shapes: Shapes, rates: Rates, reason: Reason, max_level: int
    ) -> tuple[tuple[Mode, ...], dict[str, str]]:
        """Return modes, and why each type without any has none."""
        modes, kept = modes_of(shapes, rates, max_level)
        served = {shapes.groups[i].type_index for i in np.flatnonzero(kept).tolist()}
        curves: dict[int, list[Curve]] = {}
        for curve in shapes.curves:
            if curve.type_index not in served:
                curves.setdefault(curve.type_index, []).append(curve)
        missing = {
            self._floor.types[t].name: self._why_not(of_type, rates, reason, max_level)
            for t, of_type in sorted(curves.items())
        }
        return modes, missing

    def _why_not(self, curves: list[Curve], rates: Rates, reason: Reason, max_level: int) -> str:
        """Say what physics refused, or that no domain within `max_level` holds the gang."""
        for curve in curves:
            shapes = range(curve.start, curve.stop)
            if shapes and not rates.work_per_s[curve.start : curve.stop].any():
                return next((why for why in map(reason, shapes) if why), "its rate is zero")
        first = curves[0]
        most = max(self._floor.most(first.type_index, level) for level in range(max_level + 1))
        where = self._floor.levels[max_level]
        return f"needs {first.count} accelerators in one {where}, the largest has {most}"


def _count_ranges(shapes: Shapes) -> list[tuple[int, int]]:
    """Return where the shapes of each count begin and end."""
    ranges: dict[int, tuple[int, int]] = {}
    for curve in shapes.curves:
        if curve.stop > curve.start:
            start, _ = ranges.get(curve.count, (curve.start, 0))
            ranges[curve.count] = start, curve.stop
    return list(ranges.values())


def _place(mode: Mode) -> tuple[int, tuple[tuple[int, int, int], ...]]:
    return mode.level, tuple((g.type_index, -g.per_node, g.count) for g in mode.groups)


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
