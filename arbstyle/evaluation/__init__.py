"""Comparing methods on pairs of photos and styles: pictures, measures, intervals, a report."""

from arbstyle.evaluation.bootstrap import Interval, paired_bootstrap
from arbstyle.evaluation.evaluation import Evaluation, evaluate
from arbstyle.evaluation.methods import Method
from arbstyle.evaluation.report import text_table, write_report

__all__ = [
    "Evaluation",
    "Interval",
    "Method",
    "evaluate",
    "paired_bootstrap",
    "text_table",
    "write_report",
]
