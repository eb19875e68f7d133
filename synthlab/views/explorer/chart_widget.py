"""A chart that a kernel redraws and repaints many times, and that works offline."""

from __future__ import annotations

from typing import Any

import altair as alt

REDRAW = "{finalize();"
"""What Altair's script does with a chart that is replaced; nothing else in the script reads so."""
_FORGET = " model.off('change:_params'); model.off('change:_py_to_js_updates');"


class ChartWidget(alt.JupyterChart):
    """Altair's widget, on a canvas, whose browser side forgets the charts that were replaced.

    Altair's own script keeps every replaced chart listening: after ten redraws a new colour is computed eleven
    times. The kernel hears of a brush or click 150 ms after its last move, never in between.

    Parameters
    ----------
    chart
        What is shown first; set the attribute `chart` to replace it.
    embed_options
        Further options for vega-embed.
    """

    def __init__(self, chart: Any, **embed_options: Any) -> None:
        alt.JupyterChart.enable_offline()
        assert str(alt.JupyterChart._esm).count(REDRAW) == 1, "Altair's script reads otherwise: look at REDRAW"
        type(self)._esm = str(alt.JupyterChart._esm).replace(REDRAW, REDRAW + _FORGET, 1)  # copied by every new widget
        super().__init__(
            chart, debounce_wait=150, max_wait=False, embed_options={"renderer": "canvas", **embed_options}
        )
