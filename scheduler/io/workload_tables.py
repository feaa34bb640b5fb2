"""The tables of a workload file: known names, models, throughput profiles, classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.errors import nearest_name
from scheduler.core.model import Model
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import (
    JobClass,
    ModelPhysics,
    Profile,
    ProfilePhysics,
    RunTimePhysics,
    Service,
)
from scheduler.io import catalogue
from scheduler.io.beside import adding_faults_to, beside
from scheduler.io.profiles import read_profile
from scheduler.io.schema import Checker, Names, some_of
from scheduler.io.workload_sections import (
    ClassSection,
    ModelRowSection,
    ModelSection,
    ProfileSection,
    ProfileTableSection,
)
from scheduler.io.yaml_text import FieldPath


@dataclass(slots=True)
class Tables:
    """What classes and services refer to by name, and what follows from it.

    Parameters
    ----------
    check : Checker
        Of the file.
    folder : Path or None
        Where it lies; None: it may name no other.

    Attributes
    ----------
    models : dict of str to Model
        Those that the file describes itself.
    profiles : dict of str to Profile
        Throughput tables.
    """

    check: Checker
    folder: Path | None
    models: dict[str, Model] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)

    def read(self) -> None:
        """Read everything that classes may name."""
        self._set_names()
        self._read_models()
        self._read_profiles()

    def _set_names(self) -> None:
        types = catalogue.accelerators().values()
        others = self.check.get(("other_accelerators",))
        known = [t.name for t in types]
        known += [o for o in others if isinstance(o, str)] if isinstance(others, list) else []
        aliases = {alias: t.name for t in types for alias in (t.name, *t.aliases)}
        models = catalogue.models().values()
        own = self.check.get(("models",))
        written = [*own] if isinstance(own, dict) else []
        spellings = {alias: m.name for m in models for alias in (m.name, *m.aliases)}
        tables = self.check.get(("profiles",))
        self.check.context |= {
            "accelerators": Names(dict.fromkeys(known), aliases),
            "stacks": Names(sorted({t.stack for t in types})),
            "models": Names(dict.fromkeys((*(m.name for m in models), *written)), spellings),
            "profiles": Names([*tables] if isinstance(tables, dict) else []),
        }

    def _read_models(self) -> None:
        for name, row in self.check.named_sections(ModelRowSection, ("models",)).items():
            if row is None:
                continue
            kv_heads = row.heads if row.kv_heads is None else row.kv_heads
            head_dim = row.hidden // max(1, row.heads) if row.head_dim is None else row.head_dim
            kept = row.kv_values_per_token_layer
            self.models[name] = Model(
                name=name,
                kind=row.kind,
                parameters=row.parameters,
                active_parameters=row.active_parameters or row.parameters,
                layers=row.layers,
                hidden=row.hidden,
                heads=row.heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
                ffn_hidden=4 * row.hidden if row.ffn_hidden is None else row.ffn_hidden,
                vocabulary=row.vocabulary,
                experts=row.experts,
                experts_per_token=row.experts_per_token,
                kv_values_per_token_layer=2.0 * kv_heads * head_dim if kept is None else kept,
                flops_per_sample=row.flops_per_sample,
                activation_values_per_sample=row.activation_values_per_sample,
                source=row.source,
            )

    def named_models(self, classes: list[JobClass], services: list[Service]) -> dict[str, Model]:
        """Return the models that classes and services name."""
        physics = [c.physics for c in classes] + [s.physics for s in services]
        names = sorted({p.model for p in physics if isinstance(p, ModelPhysics)})
        return {n: self.models.get(n) or catalogue.find_model(n) for n in names}

    def _read_profiles(self) -> None:
        tables = self.check.named_sections(ProfileTableSection, ("profiles",))
        for name, section in tables.items():
            if section is None:
                continue
            at: FieldPath = ("profiles", name)
            if section.file is not None:
                path = beside(self.check, self.folder, (*at, "file"), section.file)
                if path is not None:
                    with adding_faults_to(self.check):
                        self._add_profile(read_profile(path, name))
                continue
            rates: dict[tuple[str, str, int, str], float] = {}
            for i, row in enumerate(section.rates or ()):
                key = (row.job_type, row.accelerator.casefold(), row.count, row.spread)
                if key in rates:
                    self.check.fault((*at, "rates", i), "the rate is given twice", row.job_type)
                rates[key] = row.rate
            self._add_profile(Profile(name, rates))

    def _add_profile(self, profile: Profile) -> None:
        self.profiles[profile.name] = profile

    def model(self, section: ModelSection) -> ModelPhysics:
        """Return physics by a model description."""
        return ModelPhysics(
            section.name, section.precision, section.sequence_length, section.global_batch
        )

    def profile(self, at: FieldPath, section: ProfileSection) -> ProfilePhysics:
        """Return physics by a throughput table."""
        table = self.profiles.get(section.table)
        if table is not None:
            known = dict.fromkeys(key[0] for key in table.rates)
            if section.job_type not in known:
                self.check.fault(
                    (*at, "job_type"),
                    f"no such job type in table {section.table!r}",
                    section.job_type,
                    some_of(known),
                    nearest_name(section.job_type, known),
                )
        return ProfilePhysics(section.table, section.job_type)

    def job_class(self, at: FieldPath, section: ClassSection) -> JobClass:
        """Return a class from its checked section."""
        physics: ModelPhysics | ProfilePhysics | RunTimePhysics
        if section.model is not None:
            physics = self.model(section.model)
        elif section.profile is not None:
            physics = self.profile((*at, "profile"), section.profile)
        else:
            reference = section.run_time.reference if section.run_time else ""
            physics = RunTimePhysics(reference)
        return JobClass(
            name=section.name,
            physics=physics,
            gang=tuple(max(1, milli // WHOLE_MILLI) for milli in sorted(set(section.gang))),
            accelerators=optional(section.accelerators),
            precision=section.precision,
            stacks=optional(section.stacks),
            memory_bytes=section.memory,
            max_level=section.max_level,
            preemptible=section.preemptible,
            restart_s=section.restart,
            checkpoint_s=section.checkpoint,
            mixed_types=section.mixed_types,
            saves_state=section.saves_state,
            labels=tuple(sorted(section.labels.items())),
            cpus=section.cpus,
            host_memory_bytes=section.host_memory,
            group=section.group,
            apart=section.apart,
            near=section.near,
            share_milli=min(WHOLE_MILLI, *section.gang),
        )


def optional(names: list[str] | None) -> tuple[str, ...] | None:
    """Return each name once; None stays None."""
    return None if names is None else tuple(dict.fromkeys(names))
