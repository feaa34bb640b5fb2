"""Runs and ledgers as terminal tables, pictures, sentences and JSON objects."""

from __future__ import annotations

from scheduler.report.metric_tables import metric_tables
from scheduler.report.objects import compare_object, run_object
from scheduler.report.screen import replay_progress, results_console, words_console
from scheduler.report.sentences import (
    inputs_line,
    replays_line,
    verdict_lines,
    violations_line,
)
from scheduler.report.summary import Summary, summarise
from scheduler.report.tables import ledger_table, listing_table, policy_tables, type_table
from scheduler.report.waterfall import Waterfall
from scheduler.report.words import duration, plain, slug

__all__ = [
    "Summary",
    "Waterfall",
    "compare_object",
    "duration",
    "inputs_line",
    "ledger_table",
    "listing_table",
    "metric_tables",
    "plain",
    "policy_tables",
    "replay_progress",
    "replays_line",
    "results_console",
    "run_object",
    "slug",
    "summarise",
    "type_table",
    "verdict_lines",
    "violations_line",
    "words_console",
]
