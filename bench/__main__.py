"""``python -m bench`` lists, ``python -m bench NAME [--json] [options]`` runs, ``all`` runs all.

``python -m bench all --keep FILE`` also writes the results, small, for the record;
``python -m bench readme FILE`` prints them into the README's section "How it compares";
``python -m bench trend`` names what changed between two dated results, and
``python -m bench growth`` measures how time and memory grow with size.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import BENCHES, MODULES, growth, trend
from bench.comparison import complete, kept, markdown, readme, with_section
from scheduler.core.errors import InputError, nearest_name

OTHERS = {
    "all": "every bench with its defaults (--keep FILE: keep the results)",
    "readme": "print kept results into the README (readme FILE)",
    "trend": "what changed between two kept results: regressions, by name",
    "growth": "time and memory against size, with the exponent of growth (--plot FILE)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 2 bad or missing input."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m bench NAME [--json] [options]   (--help lists the options)\n")
        for name, line in {**BENCHES, **OTHERS}.items():
            print(f"  {name:<18}{line}")
        return 0
    name, options = words[0], words[1:]
    if name in COMMANDS:
        return COMMANDS[name](options)
    if name not in BENCHES:
        known = [*BENCHES, *OTHERS]
        near = nearest_name(name, known)
        hint = f"; did you mean {near!r}?" if near else ""
        print(f"unknown bench {name!r}; allowed: {', '.join(known)}{hint}", file=sys.stderr)
        return 2
    return _one(name, options)


def _one(name: str, options: Sequence[str]) -> int:
    """Run one bench and print its result."""
    bench = importlib.import_module(f"bench.{MODULES.get(name, name)}")
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=BENCHES[name])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    bench.add_arguments(parser)
    arguments = parser.parse_args(options)
    try:
        result = complete(bench.run(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(bench.table(result)))
    return 0


def _all(options: Sequence[str]) -> int:
    """Run every bench with its defaults, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench all", description=OTHERS["all"])
    parser.add_argument("--json", action="store_true", help="print the results as a JSON list")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the results there")
    parser.add_argument("--only", metavar="NAMES", help="some of them, by commas")
    arguments = parser.parse_args(options)
    asked = arguments.only.split(",") if arguments.only else list(BENCHES)
    unknown = [name for name in asked if name not in BENCHES]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; allowed: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    results: list[dict[str, Any]] = []
    code = 0
    began = time.perf_counter()
    for number, name in enumerate(asked, start=1):
        print(f"{number} of {len(asked)}: {name} ...", file=sys.stderr, flush=True)
        bench = importlib.import_module(f"bench.{MODULES.get(name, name)}")
        parser = argparse.ArgumentParser()
        bench.add_arguments(parser)
        start = time.perf_counter()
        try:
            result = complete(bench.run(parser.parse_args([])))
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = 2
            continue
        took = time.perf_counter() - start
        print(f"{name}: {took:.0f} s", file=sys.stderr, flush=True)
        results.append({**result, "seconds": took})
        if arguments.keep:  # at once: the next one may be interrupted
            _keep(arguments.keep, results[-1:])
        if not arguments.json:
            print("\n".join((f"== {name}", *bench.table(result), "")), flush=True)
    if arguments.json:
        print(json.dumps(results, indent=1))
    print(f"all of them: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return code


def _keep(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Write results, small; what the file holds of other benches stays."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    by_name = {result["bench"]: result for result in known}
    by_name |= {result["bench"]: kept(result) for result in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(list(by_name.values()), separators=(",", ":"))
    path.write_text(text.replace('{"case"', '\n{"case"') + "\n", encoding="utf-8")


def _readme(options: Sequence[str]) -> int:
    """Print kept results into the README."""
    parser = argparse.ArgumentParser(prog="python -m bench readme", description=OTHERS["readme"])
    parser.add_argument("kept", type=Path, metavar="FILE", help="what `all --keep` wrote")
    arguments = parser.parse_args(options)
    try:
        results = json.loads(arguments.kept.read_text(encoding="utf-8"))
        lines = list(markdown(results, str(arguments.kept)))
        path = readme()
        path.write_text(with_section(path.read_text(encoding="utf-8"), lines), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"{arguments.kept}: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


COMMANDS = {"all": _all, "readme": _readme, "trend": trend.main, "growth": growth.main}


if __name__ == "__main__":
    sys.exit(main())
