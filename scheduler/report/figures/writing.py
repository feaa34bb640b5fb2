"""Figures to files: SVG by our own hand, PNG by matplotlib, CSV beside either."""

from __future__ import annotations

import csv
import io
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import Fault, InputError
from scheduler.report.figures.drawing import Box, Drawing
from scheduler.report.figures.drawing import Path as Line
from scheduler.report.figures.kinds import Figure

FORMATS: Final = (".svg", ".png")
DOTS_PER_INCH: Final = 300
_ALIGN: Final = {"start": "left", "middle": "center", "end": "right"}


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure to `path` and its data beside it; return where the data lies.

    Raises
    ------
    InputError
        The ending is neither ``.svg`` nor ``.png``, matplotlib is wanted and missing, or a
        file cannot be written.
    """
    from scheduler.io.atomic_files import write_text

    check_format(path)
    if path.suffix.lower() == ".svg":
        write_text(path, figure.drawing.svg())
    else:
        _write_png(figure.drawing, path)
    data = path.with_suffix(".csv")
    write_text(data, csv_text(figure))
    return data


def check_format(path: Path) -> None:
    """Raise `InputError` if a figure cannot be written in the format that `path` asks for."""
    if path.suffix.lower() not in FORMATS:
        message = "not a format of figures"
        raise InputError([Fault(message, "--output", value=path.name, allowed=".svg or .png")])
    if path.suffix.lower() == ".png":
        _matplotlib(path)


def csv_text(figure: Figure) -> str:
    """Return the data of a figure; a name never begins as a spreadsheet's formula would."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(figure.columns)
    for row in figure.rows:
        writer.writerow(["" if v is None else _harmless(v) for v in row])
    return out.getvalue()


def _harmless(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return value


def _matplotlib(path: Path) -> Any:
    try:
        import_module("matplotlib.figure")
        import_module("matplotlib.patches")
        return import_module("matplotlib")
    except ImportError:
        message = "PNG needs matplotlib"
        allowed = "pip install 'fleetfit[figures]', or .svg"
        raise InputError([Fault(message, "--output", value=path.name, allowed=allowed)]) from None


def _write_png(drawing: Drawing, path: Path) -> None:
    plotting = _matplotlib(path)
    size = (drawing.width / 72, drawing.height / 72)
    picture = plotting.figure.Figure(figsize=size, dpi=DOTS_PER_INCH)
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.set_axis_off()
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            axes.add_patch(
                plotting.patches.Rectangle(
                    (shape.x, shape.y), shape.width, shape.height,
                    facecolor=shape.fill, alpha=shape.opacity, linewidth=0,
                )
            )  # fmt: skip
        elif isinstance(shape, Line):
            x, y = zip(*shape.points, strict=True)
            axes.plot(x, y, color=shape.stroke, linewidth=shape.width)
        else:
            axes.text(
                shape.x, shape.y, shape.text, fontsize=shape.size, color=shape.fill,
                ha=_ALIGN[shape.anchor], va="baseline", parse_math=False,
            )  # fmt: skip
    try:
        picture.savefig(path, metadata={"Software": None})
    except OSError as error:
        raise InputError([Fault(f"cannot be written: {error.strerror}", str(path))]) from None
