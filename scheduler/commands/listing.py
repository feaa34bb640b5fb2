"""`fleetfit list`: what can be named."""

from __future__ import annotations

from scheduler.commands.options import Output
from scheduler.commands.printing import print_json
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.units import GB, GIB
from scheduler.policies import describe, parts
from scheduler.report import listing_table, results_console
from scheduler.report.catalogues import (
    PEAKS_NOTE,
    UNSURE,
    UNSURE_NOTE,
    accelerator_tables,
    model_table,
)
from scheduler.report.file_formats import file_formats


def list_names(what: str, output: Output) -> int:
    """Show what can be named."""
    kinds = {
        "policies": _policy_rows,
        "topologies": _topology_rows,
        "workloads": _workload_rows,
        "accelerators": _accelerator_rows,
        "models": _model_rows,
        "traces": _trace_rows,
        "files": _file_rows,
    }
    if what not in kinds:
        near = nearest_name(what, kinds)
        raise InputError([Fault("no such list", "WHAT", "", what, ", ".join(kinds), near)])
    rows = kinds[what]()
    console = results_console()
    if output.json:
        print_json({what: rows} | ({"composed": parts()} if what == "policies" else {}))
    elif what == "accelerators":
        for table in accelerator_tables(rows, console.width):
            console.print(table)
        for note in (f"{UNSURE} {UNSURE_NOTE}", PEAKS_NOTE, "sources and dates: --json"):
            console.print(note, markup=False)
    elif what == "models":
        console.print(model_table(rows, console.width))
    elif what == "files":
        print(files_page(), end="")
    else:
        console.print(listing_table(rows))
    if what == "policies" and not output.json:
        for note in _grammar():
            console.print(note, markup=False, highlight=False)
    return 0


def _policy_rows() -> list[dict[str, object]]:
    return [{"name": name, "title": title} for name, title in describe().items()]


def _grammar() -> list[str]:
    """Return how names are composed, and of which words."""
    return [
        "Others are composed, as ORDER+ADMISSION+PLACEMENT: srtf+easy+worst_fit.",
        "Admission (greedy) and placement (best_fit) come in any order, or one is left out.",
        *(f"  {choice}: {', '.join(words)}" for choice, words in parts().items()),
        "FILE.py:CLASS is a policy of your own.",
        "With +learned at its end, any of them goes by run times learnt in the run: srtf+learned.",
    ]


def _topology_rows() -> list[dict[str, object]]:
    from scheduler.io import list_topologies

    return [{"name": f.name, "title": f.title} for f in list_topologies()]


def _workload_rows() -> list[dict[str, object]]:
    from scheduler.io import list_workloads

    return [{"name": f.name, "title": f.title} for f in list_workloads()]


def _accelerator_rows() -> list[dict[str, object]]:
    from scheduler.io import accelerators
    from scheduler.io.catalogue import PRECISIONS

    return [
        {
            "name": a.name,
            "vendor": a.vendor,
            "stack": a.stack,
            "year": a.year,
            "memory_gib": round(a.memory_bytes / GIB, 1),
            "memory_gb_per_s": round(a.memory_bytes_per_s / GB),
            **{f"{p}_tflops": _tera(a.peak_flops.get(p)) for p in PRECISIONS},
            "scaleup_gb_per_s": round(a.scaleup_bytes_per_s / GB),
            "scaleup_devices": a.scaleup_devices,
            "devices_per_node": a.devices_per_node,
            "idle_w": a.idle_w,
            "peak_w": a.peak_w,
            "price_usd": a.price_usd,
            "usd_per_hour": a.usd_per_hour,
            "prices_as_of": a.prices_as_of,
            "export_status": a.export_status,
            "confidence": a.confidence,
            "source": a.source,
        }
        for a in accelerators().values()
    ]


def _model_rows() -> list[dict[str, object]]:
    from scheduler.io import models

    return [
        {
            "name": m.name,
            "kind": m.kind,
            "parameters_1e9": round(m.parameters / 1e9, 2),
            "active_1e9": round(m.active_parameters / 1e9, 2),
            "layers": m.layers,
            "hidden": m.hidden or None,
            "heads": m.heads or None,
            "kv_heads": m.kv_heads or None,
            "vocabulary": m.vocabulary or None,
            "experts": m.experts or None,
            "experts_per_token": m.experts_per_token or None,
            "kv_values_per_token_layer": m.kv_values_per_token_layer or None,
            "flops_per_sample": m.flops_per_sample or None,
            "source": m.source,
        }
        for m in models().values()
    ]


def _trace_rows() -> list[dict[str, object]]:
    from scheduler.io import TRACE_FORMATS
    from scheduler.io.request_traces import REQUEST_FORMATS

    found = [("jobs", t.name, t.title, t.published, t.licence) for t in TRACE_FORMATS.values()]
    found += [
        ("requests", t.name, t.title, t.published, t.licence) for t in REQUEST_FORMATS.values()
    ]
    return [
        {"format": name, "of": what, "title": title, "published": where, "licence": licence}
        for what, name, title, where, licence in found
    ]


def _file_rows() -> list[dict[str, object]]:
    return [{"name": name, "text": text} for name, text in file_formats().items()]


def files_page() -> str:
    """Return what the files that people write may hold, as Markdown."""
    parts = ["# The files you write"]
    for name, text in file_formats().items():
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n{text}")
    return "\n\n".join(parts) + "\n"


def _tera(flops: float | None) -> float | None:
    return None if flops is None else round(flops / 1e12, 1)
