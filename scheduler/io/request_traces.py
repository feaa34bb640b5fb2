"""Recorded requests of inference services: one reader per published format.

``azure``  Azure LLM inference, 2023: ``TIMESTAMP, ContextTokens, GeneratedTokens``.
``mooncake``  Mooncake, FAST'25: ``timestamp`` (ms), ``input_length``, ``output_length``; CSV, or
JSON Lines as published. Its clock ticks in steps of about 3 s.
``gentd26-rate``  GenTD26: samples of the requests/s of containers (``timestamp_anon``, ``value``,
``container_ip``); a sample stands for the time to the container's next one, which is taken as
the median over all of them.
``gentd26``  GenTD26: one image request per row (``gmt_create``, ``exec_time_seconds``, ...).
``dlrm``  Alibaba gpu-v2025: recommendation instances with ``gpu_request``, ``creation_time`` and
``deletion_time``. It tells accelerators held, not requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.requests import RequestTrace
from scheduler.io.json_text import parse_json
from scheduler.io.rows import LONGEST_S, RowFaults, check_width, read_lines, read_table
from scheduler.io.trace_rows import Clock, TraceOptions

TOKENS_CAP: Final = 1e8
ROWS_CAP: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """A published format.

    Parameters
    ----------
    name, title : str
        Its name, and a line for people.
    published, licence : str
        Where, and under what licence.
    columns : tuple of str
        What it is recognised by.
    read : callable
        From path and file name to a trace.
    """

    name: str
    title: str
    published: str
    licence: str
    columns: tuple[str, ...]
    read: Callable[[Path, str], RequestTrace]


@dataclass(slots=True)
class _Rows:
    """Columns under construction."""

    at_s: list[float]
    amount: list[float]
    prompt: list[float]
    output: list[float]

    def add(
        self, at_s: float, amount: float = 1.0, prompt: float = math.nan, output: float = math.nan
    ) -> None:
        """Add a row."""
        self.at_s.append(at_s)
        self.amount.append(amount)
        self.prompt.append(prompt)
        self.output.append(output)

    def trace(
        self,
        path: Path,
        chosen: str,
        faults: RowFaults,
        *,
        standing: bool = False,
        period_s: float | None = None,
    ) -> RequestTrace:
        """Return the trace, times from the first row; the last lasts for `period_s`.

        By default that is the mean gap between rows, and nothing for instances.
        """
        faults.finish()
        if not self.at_s:
            faults.add(0, "", "the trace is empty", "", "at least one request")
            faults.finish()
        order = np.argsort(np.array(self.at_s), kind="stable")
        at_s = np.array(self.at_s)[order]
        about = REQUEST_FORMATS[chosen]
        gap = float(at_s[-1] - at_s[0])
        last_s = gap / max(1, len(at_s) - 1) if period_s is None else period_s
        span_s = gap if standing else gap + last_s
        return RequestTrace(
            path.name.split(".")[0],
            at_s - at_s[0],
            np.array(self.amount)[order],
            np.array(self.prompt)[order],
            np.array(self.output)[order],
            max(span_s, 1e-6),
            standing,
            about.published,
            about.licence,
        )


def load_requests(path: str | Path, *, format: str | None = None) -> RequestTrace:
    """Return the requests of a trace file, plain or gzip.

    Parameters
    ----------
    path : str or Path
        The file.
    format : str, optional
        A key of `REQUEST_FORMATS`; by default recognised by its first line.

    Raises
    ------
    InputError
        With every fault of the file, up to the cap.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError([Fault("no such trace file", str(path))])
    if format is not None and format not in REQUEST_FORMATS:
        near, allowed = nearest_name(format, REQUEST_FORMATS), ", ".join(REQUEST_FORMATS)
        raise InputError([Fault("unknown request format", "format", "", format, allowed, near)])
    chosen = _recognise(path) if format is None else REQUEST_FORMATS[format]
    return chosen.read(path, str(path))


def _recognise(path: Path) -> RequestFormat:
    lines = (line for line in read_lines(path) if line.strip() and not line.startswith("#"))
    first = next(lines, None)
    if first is None:
        raise InputError([Fault("the file is empty", str(path))])
    if first.lstrip().startswith("{"):
        row = parse_json(first, str(path), 1)
        names = set(row) if isinstance(row, dict) else set()
    else:
        names = {c.strip().strip('"') for c in first.split(",")}
    for known in REQUEST_FORMATS.values():
        if names.issuperset(known.columns):
            return known
    allowed = "; ".join(f"{f.name}: {', '.join(f.columns)}" for f in REQUEST_FORMATS.values())
    raise InputError(
        [Fault("not a request trace of a known format", str(path), "", first[:80], allowed)]
    )


def _cells(
    path: Path, file: str, columns: tuple[str, ...], faults: RowFaults
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells of `columns`) of a CSV file, or of JSON Lines."""
    lines = read_lines(path, file)
    first = next(lines, "")
    if first.lstrip().startswith("{"):
        for number, text in enumerate(chain([first], lines), start=1):
            if text.strip():
                row = parse_json(text, file, number)
                known = isinstance(row, dict) and all(c in row for c in columns)
                if not known:
                    faults.add(number, "", "missing fields", "", ", ".join(columns))
                    continue
                yield number, [str(row[c]) for c in columns]
        return
    rows = read_table(path, file)
    at, header = next(rows)
    for column in columns:
        if column not in header:
            near = nearest_name(column, header)
            faults.add(at, "", "missing column", column, ", ".join(header), near)
    faults.finish()
    places = [header.index(c) for c in columns]
    for line, cells in rows:
        if check_width(faults, line, cells, len(header)):
            yield line, [cells[i] for i in places]


def _read_azure(path: Path, file: str) -> RequestTrace:
    faults, rows, clock = RowFaults(file), _Rows([], [], [], []), Clock(TraceOptions())
    for line, cells in _cells(path, file, _AZURE, faults):
        at_s = clock.seconds(cells[0])
        if at_s is None:
            faults.add(line, _AZURE[0], "not a time", cells[0], "YYYY-MM-DD HH:MM:SS.ffffff")
            continue
        prompt = faults.number(line, _AZURE[1], cells[1], high=TOKENS_CAP)
        output = faults.number(line, _AZURE[2], cells[2], high=TOKENS_CAP)
        rows.add(at_s, 1.0, prompt, output)
    return rows.trace(path, "azure", faults)


def _read_mooncake(path: Path, file: str) -> RequestTrace:
    faults, rows = RowFaults(file), _Rows([], [], [], [])
    for line, cells in _cells(path, file, _MOONCAKE, faults):
        at_ms = faults.number(line, _MOONCAKE[0], cells[0], high=1e3 * LONGEST_S)
        prompt = faults.number(line, _MOONCAKE[1], cells[1], high=TOKENS_CAP)
        output = faults.number(line, _MOONCAKE[2], cells[2], high=TOKENS_CAP)
        rows.add(at_ms / 1e3, 1.0, prompt, output)
    return rows.trace(path, "mooncake", faults)


def _read_rates(path: Path, file: str) -> RequestTrace:
    faults, rows = RowFaults(file), _Rows([], [], [], [])
    seen: dict[str, list[float]] = {}
    for line, (at, value, container) in _cells(path, file, _RATES, faults):
        at_s = faults.number(line, _RATES[0], at, high=LONGEST_S)
        rows.add(at_s, faults.number(line, _RATES[1], value, high=1e9))
        seen.setdefault(container, []).append(at_s)
    faults.finish()
    gaps = [np.diff(np.sort(np.array(times))) for times in seen.values()]
    every = np.concatenate(gaps) if gaps else np.zeros(0)
    every = every[every > 0]
    period_s = float(np.median(every)) if len(every) else 60.0
    rows.amount = [value * period_s for value in rows.amount]
    return rows.trace(path, "gentd26-rate", faults, period_s=period_s)


def _read_images(path: Path, file: str) -> RequestTrace:
    faults, rows, clock = RowFaults(file), _Rows([], [], [], []), Clock(TraceOptions())
    for line, (created, seconds) in _cells(path, file, _IMAGES, faults):
        at_s = clock.seconds(created)
        if at_s is None:
            faults.add(line, _IMAGES[0], "not a time", created, "YYYY-MM-DD HH:MM:SS")
            continue
        faults.number(line, _IMAGES[1], seconds, blank=0.0, high=LONGEST_S)
        rows.add(at_s)
    return rows.trace(path, "gentd26", faults)


def _read_dlrm(path: Path, file: str) -> RequestTrace:
    faults, rows = RowFaults(file), _Rows([], [], [], [])
    for line, (held, created, deleted) in _cells(path, file, _DLRM, faults):
        accelerators = faults.number(line, _DLRM[0], held, blank=0.0, high=1e6)
        start_s = faults.number(line, _DLRM[1], created, blank=0.0, high=LONGEST_S)
        end_s = faults.number(line, _DLRM[2], deleted, blank=math.inf, high=LONGEST_S)
        if accelerators > 0 and end_s > start_s:
            rows.add(start_s, accelerators)
            if end_s < math.inf:
                rows.add(end_s, -accelerators)
    return rows.trace(path, "dlrm", faults, standing=True)


_AZURE: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_MOONCAKE: Final = ("timestamp", "input_length", "output_length")
_RATES: Final = ("timestamp_anon", "value", "container_ip")
_IMAGES: Final = ("gmt_create", "exec_time_seconds")
_DLRM: Final = ("gpu_request", "creation_time", "deletion_time")
_ALIBABA: Final = "https://github.com/alibaba/clusterdata"
_RESEARCH: Final = "no licence file: for research and study"

REQUEST_FORMATS: Final[Mapping[str, RequestFormat]] = MappingProxyType(
    {
        f.name: f
        for f in (
            RequestFormat(
                "azure",
                "chat and code completion requests with token counts, about an hour",
                "https://github.com/Azure/AzurePublicDataset (AzureLLMInferenceDataset2023)",
                "CC-BY-4.0",
                _AZURE,
                _read_azure,
            ),
            RequestFormat(
                "mooncake",
                "long-context requests with token counts, about an hour",
                "https://github.com/kvcache-ai/Mooncake (FAST25-release/traces)",
                "Apache-2.0",
                _MOONCAKE,
                _read_mooncake,
            ),
            RequestFormat(
                "gentd26-rate",
                "image generation: requests/s of containers over a day",
                f"{_ALIBABA} (cluster-trace-v2026-GenAI)",
                _RESEARCH,
                _RATES,
                _read_rates,
            ),
            RequestFormat(
                "gentd26",
                "image generation: requests over two weeks",
                f"{_ALIBABA} (cluster-trace-v2026-GenAI)",
                _RESEARCH,
                _IMAGES,
                _read_images,
            ),
            RequestFormat(
                "dlrm",
                "recommendation: instances and their accelerators over a month",
                f"{_ALIBABA} (cluster-trace-gpu-v2025)",
                _RESEARCH,
                _DLRM,
                _read_dlrm,
            ),
        )
    }
)
"""Readers by name, in the order they are tried."""
