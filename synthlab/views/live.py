"""Figures that are redrawn in place while a run trains."""

from __future__ import annotations

from typing import Any

import pandas as pd

from synthlab.views.charts import learning_curve


class LiveCurve:
    """Loss and pass@1 of a run, redrawn below its cell whenever it is called with the history so far.

    Drawn as a picture, so it needs no browser, stays in the saved notebook, and is the same figure afterwards.

    Parameters
    ----------
    title, subtitle
        The claim or question, and its details.
    """

    def __init__(self, title: str = "Has the model finished learning?", subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self.handle: Any = None

    def __call__(self, history: pd.DataFrame) -> None:
        """Draw the history (columns step, name, value); nothing while it is empty."""
        from IPython.display import display

        if history.empty:
            return
        chart = learning_curve(history, self.title, self.subtitle)
        if self.handle is None:
            self.handle = display(chart, display_id=True)
        else:
            self.handle.update(chart)
