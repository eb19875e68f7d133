"""Panels in which splits are designed and results are looked at, by hand."""

from synthlab.views.explorer.panel import SplitExplorer as SplitExplorer
from synthlab.views.explorer.results import ResultExplorer as ResultExplorer
from synthlab.views.explorer.training import TrainingCurve as TrainingCurve
