"""One campaign from its files to a run folder: load, learn, prove, report; and a run folder back into use."""

from largesse.runs.campaign import Run, fit
from largesse.runs.held import compare_runs, evaluate_run
from largesse.runs.load import Rows, load_rows

__all__ = ["Rows", "Run", "compare_runs", "evaluate_run", "fit", "load_rows"]
