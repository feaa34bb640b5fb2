"""The jobs of a workload file: written by hand, in a table beside it, or generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scheduler.core.workload import JobClass, Profile, ProfilePhysics, RunTimePhysics, Workload
from scheduler.io.beside import adding_faults_to, beside
from scheduler.io.generated import read_generated
from scheduler.io.job_columns import NAN, JobColumns
from scheduler.io.jobs_table import JobsTable
from scheduler.io.schema import Checker
from scheduler.io.workload_sections import JobSection
from scheduler.io.yaml_text import FieldPath


@dataclass(slots=True)
class JobsPart:
    """Gathers jobs from every part of a file that may hold some.

    Parameters
    ----------
    check : Checker
        Of the file.
    folder : Path or None
        Where it lies; None: it may name no other.
    classes : list of JobClass
        Those of the file; generated ones are added.
    profiles : dict of str to Profile
        Likewise.

    Attributes
    ----------
    columns : JobColumns
        The jobs so far.
    """

    check: Checker
    folder: Path | None
    classes: list[JobClass]
    profiles: dict[str, Profile]
    columns: JobColumns = field(default_factory=JobColumns)
    _taken: dict[str, str] = field(default_factory=dict)

    def read(self) -> None:
        """Add the jobs that the file spells out."""
        index = {c.name: i for i, c in enumerate(self.classes)}
        for at, section in self.check.sections(JobSection, ("jobs",)):
            if section is None:
                continue
            position = index.get(section.class_)
            if position is not None:  # else its class is at fault
                self._add_jobs(at, section, position)

    def _add_jobs(self, at: FieldPath, section: JobSection, position: int) -> None:
        physics = self.classes[position].physics
        if section.run_time is not None and not isinstance(physics, RunTimePhysics):
            counted = "steps" if isinstance(physics, ProfilePhysics) else "tokens or samples"
            message = f"class {section.class_!r} counts work"
            self.check.fault((*at, "run_time"), message, "", f"work: a number of {counted}")
        if section.work is not None and isinstance(physics, RunTimePhysics):
            message = f"class {section.class_!r} knows only a run time"
            self.check.fault((*at, "work"), message, f"{section.work:g}", "run_time: such as 3 h")
        ids = [section.id]
        if section.count is not None:
            ids = [f"{section.id}-{i + 1}" for i in range(section.count)]
        first = len(self.columns)
        for i, job in enumerate(ids):
            if not self._claim(at, job, f"jobs[{at[-1]}]"):
                return
            self.columns.add(
                *(job, position, section.release + i * section.every),
                section.work or section.run_time or NAN,
                estimate_s=section.estimate or NAN,
                weight=section.weight,
                deadline_s=section.deadline or NAN,
                tenant=section.tenant,
                priority=section.priority,
                limit_s=section.limit or NAN,
                after=tuple(section.after),
            )
        if section.count is not None:
            self.columns.arrays[section.id] = tuple(ids)
        if section.at_once is not None:
            self.columns.limit_array(range(first, len(self.columns)), section.at_once)

    def check_needs(self) -> None:
        """Note a fault for each job that needs one that is unknown, or itself."""
        for job, message, value, near in self.columns.faulty_needs():
            self.check.fault(("jobs",), f"{message}: {job!r}", value, "", near)

    def _claim(self, at: FieldPath, job: str, where: str) -> bool:
        if job in self._taken:
            message = f"job id is used twice, first in {self._taken[job]}"
            self.check.fault(at, message, job, "a unique id")
            return False
        self._taken[job] = where
        return True

    def read_file(self, written: str) -> None:
        """Add the jobs of a table beside the file."""
        path = beside(self.check, self.folder, ("jobs_file",), written)
        if path is None:
            return
        types = self.check.context["accelerators"]
        table = JobsTable(written, self.columns, self.classes, types.spellings(), self._taken)
        with adding_faults_to(self.check):
            table.read(path)

    def read_generated(self) -> list[Workload]:
        """Add classes and jobs of the `generate` entries; return what was generated."""
        raw = self.check.get(("generate",))
        if raw is None:
            return []
        entries = raw if isinstance(raw, list) else [raw]
        made = []
        for i, entry in enumerate(entries):
            at: FieldPath = ("generate", i) if isinstance(raw, list) else ("generate",)
            part = read_generated(self.check, at, entry)
            if part is not None:
                self._merge(at, part)
                made.append(part)
        return made

    def _merge(self, at: FieldPath, part: Workload) -> None:
        positions = np.empty(len(part.classes), dtype=np.int64)
        index = {c.name: i for i, c in enumerate(self.classes)}
        for i, job_class in enumerate(part.classes):
            known = index.get(job_class.name)
            if known is None:
                positions[i] = index[job_class.name] = len(self.classes)
                self.classes.append(job_class)
            elif self.classes[known] == job_class:
                positions[i] = known
            else:
                message = "the class exists already and differs"
                self.check.fault(at, message, job_class.name, "another prefix")
                return
        for job in part.jobs.ids:
            if not self._claim(at, job, "a generated part (give them different prefixes)"):
                return
        self.columns.extend(part.jobs, part.tenants, positions)
        for name, profile in part.profiles.items():
            if self.profiles.setdefault(name, profile) != profile:
                self.check.fault(at, "the throughput table exists already and differs", name)
