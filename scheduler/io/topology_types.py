"""The accelerator types of a topology file: the catalogue's, changed, new or cut in slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from scheduler.core.cluster import AcceleratorType
from scheduler.io import catalogue
from scheduler.io.schema import Checker, Names
from scheduler.io.topology_sections import AcceleratorSection
from scheduler.io.yaml_text import FieldPath

_TYPE_FIELDS: Final = {
    "vendor": "vendor",
    "stack": "stack",
    "memory": "memory_bytes",
    "memory_rate": "memory_bytes_per_s",
    "peak": "peak_flops",
    "scaleup": "scaleup_bytes_per_s",
    "scaleup_devices": "scaleup_devices",
    "devices_per_node": "devices_per_node",
    "nic": "nic_bytes_per_s",
    "idle": "idle_w",
    "full": "peak_w",
    "price": "price_usd",
    "rent": "usd_per_hour",
    "year": "year",
    "export_status": "export_status",
    "confidence": "confidence",
    "source": "source",
}
_TYPE_NEEDS: Final = ("stack", "memory", "memory_rate", "peak", "idle", "full")


def read_types(check: Checker) -> dict[str, AcceleratorType]:
    """Return the catalogue with the file's own types; set the names that pods may use."""
    known = dict(catalogue.accelerators())
    aliases = {alias: t.name for t in known.values() for alias in (t.name, *t.aliases)}
    check.context["catalogue"] = Names(known, aliases)
    types = dict(known)
    for type_name, section in check.named_sections(AcceleratorSection, ("accelerators",)).items():
        aliases[type_name] = type_name
        if section is not None:
            aliases |= dict.fromkeys(section.aliases or (), type_name)
            base = known.get(section.like or type_name)
            built = _type(check, ("accelerators", type_name), section, base, type_name)
            types |= {} if built is None else {type_name: built}
    check.context["accelerators"] = Names(dict.fromkeys((*types, *aliases.values())), aliases)
    return types


def _type(
    check: Checker,
    path: FieldPath,
    section: AcceleratorSection,
    base: AcceleratorType | None,
    type_name: str,
) -> AcceleratorType | None:
    given: dict[str, Any] = {
        field: getattr(section, written)
        for written, field in _TYPE_FIELDS.items()
        if getattr(section, written) is not None
    }
    if section.aliases is not None:
        given["aliases"] = tuple(section.aliases)
    missing = [f for f in _TYPE_NEEDS if base is None and _TYPE_FIELDS[f] not in given]
    for field in missing:
        hint = f"all of {', '.join(_TYPE_NEEDS)}; or like: a type of the catalogue"
        near = check.context["catalogue"].nearest(type_name)
        check.fault((*path, field), "missing field", "", hint, near)
    if missing:
        return None
    if base is None:
        usual: dict[str, Any] = {"vendor": "", "scaleup_bytes_per_s": 0.0}
        built = AcceleratorType(name=type_name, **(usual | given))
    else:
        built = replace(base, name=type_name, **given)
    built = _sliced(built, section.slices)
    if built.idle_w > built.peak_w:
        check.fault(
            path,
            "idle power above full power",
            f"{built.idle_w:g} W",
            f"at most {built.peak_w:g} W",
        )
    return built


def _sliced(whole: AcceleratorType, slices: int) -> AcceleratorType:
    """Return one of `slices` equal parts of a device, which stand in its place."""
    if slices == 1:
        return whole
    return replace(
        whole,
        memory_bytes=whole.memory_bytes / slices,
        memory_bytes_per_s=whole.memory_bytes_per_s / slices,
        peak_flops={name: rate / slices for name, rate in whole.peak_flops.items()},
        scaleup_bytes_per_s=whole.scaleup_bytes_per_s / slices,
        nic_bytes_per_s=whole.nic_bytes_per_s / slices,
        idle_w=whole.idle_w / slices,
        peak_w=whole.peak_w / slices,
        scaleup_devices=whole.scaleup_devices * slices,
        devices_per_node=whole.devices_per_node * slices,
        price_usd=None if whole.price_usd is None else whole.price_usd / slices,
        usd_per_hour=None if whole.usd_per_hour is None else whole.usd_per_hour / slices,
    )
