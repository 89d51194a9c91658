"""Comparing methods on pairs of photos and styles: pictures, measures, intervals, a report."""

from arbstyle.evaluation.bootstrap import Interval, paired_bootstrap
from arbstyle.evaluation.evaluation import Evaluation, evaluate
from arbstyle.evaluation.methods import Method
from arbstyle.evaluation.report import text_table, write_report
from arbstyle.evaluation.votes import score_votes, verdict_text

__all__ = [
    "Evaluation",
    "Interval",
    "Method",
    "evaluate",
    "paired_bootstrap",
    "score_votes",
    "text_table",
    "verdict_text",
    "write_report",
]
