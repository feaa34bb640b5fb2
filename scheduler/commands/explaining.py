"""`fleetfit explain`: where a saved run's idle time went, and who could have used it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scheduler.commands.options import Inputs, Output, load_problem
from scheduler.commands.printing import print_json, say
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.execute import fingerprint
from scheduler.report.screen import results_console

MOST_BLOCKS: Final = 1000


def explain(inputs: Inputs, run: Path, level: str, blocks: int, output: Output) -> int:
    """Take a saved run apart.

    Parameters
    ----------
    inputs, output
        What was played, and how to show the answer.
    run : Path
        A run file.
    level : str
        What the table has rows for: a level, or several joined by commas.
    blocks : int
        Idle blocks shown at most.
    """
    from scheduler.io import read_json, run_from_json
    from scheduler.report.explained import block_table, level_table, story_lines
    from scheduler.report.explanation import LEVELS, Explanation
    from scheduler.verify import verify_run

    levels = [word.strip() for word in level.split(",")]
    faults = []
    for name in levels:
        if name not in LEVELS:
            allowed = f"{', '.join(LEVELS)}, or several joined by commas"
            faults.append(
                Fault("unknown level", "--by", "", name, allowed, nearest_name(name, LEVELS))
            )
    if len(set(levels)) < len(levels):
        faults.append(Fault("a level named twice", "--by", "", level))
    if not 0 <= blocks <= MOST_BLOCKS:
        faults.append(Fault("out of range", "--blocks", "", str(blocks), f"0 to {MOST_BLOCKS}"))
    if faults:
        raise InputError(faults)
    data = read_json(run)
    played = run_from_json(data, str(run))
    problem = load_problem(inputs)
    made_from = data.get("inputs") if isinstance(data, dict) else None
    known = made_from.get("problem") if isinstance(made_from, dict) else None
    if known not in (None, fingerprint(problem)):
        say(f"{run} was made from other inputs than these")
    broken = verify_run(problem, played)
    if broken:
        say(f"{run} breaks {len(broken)} rules (first: {broken[0].message}); see fleetfit verify")
        return 1
    explanation = Explanation(problem, played)
    if output.json:
        print_json(explanation.as_dict(blocks, levels))
        return 0
    console = results_console()
    console.print(f"[bold]Accelerator-hours by cause and {' and '.join(levels)}[/bold]")
    console.print(level_table(explanation, *levels))
    for line in story_lines(explanation):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    if blocks:
        console.print("\n[bold]Top idle blocks[/bold]")
        console.print(block_table(explanation, blocks))
    return 0
