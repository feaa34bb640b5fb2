"""``python -m bench`` lists, ``python -m bench NAME [--json] [options]`` runs, ``all`` runs all."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from bench import BENCHES
from scheduler.core.errors import InputError, nearest_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 2 bad or missing input."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m bench NAME [--json] [options]   (--help lists the options)\n")
        for name, line in {**BENCHES, "all": "every bench with its defaults"}.items():
            print(f"  {name:<12}{line}")
        return 0
    name, options = words[0], words[1:]
    if name == "all":
        return max([_run(bench, options) for bench in BENCHES], default=0)
    if name not in BENCHES:
        near = nearest_name(name, BENCHES)
        hint = f"; did you mean {near!r}?" if near else ""
        print(f"unknown bench {name!r}; allowed: {', '.join(BENCHES)}, all{hint}", file=sys.stderr)
        return 2
    return _run(name, options)


def _run(name: str, options: Sequence[str]) -> int:
    """Run one bench and print its result."""
    bench = importlib.import_module(f"bench.{name}")
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=BENCHES[name])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    bench.add_arguments(parser)
    arguments = parser.parse_args(options)
    try:
        result = bench.run(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(bench.table(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
