"""A live curve of a run that another process trains: its loss, and pass@1 inside and outside the support."""

from __future__ import annotations

import asyncio
import html
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import ipywidgets as W
import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.split import Split
from synthlab.study.watching import TrainingState, watch_folder, watch_run
from synthlab.views import charts
from synthlab.views.explorer.chart_widget import ChartWidget
from synthlab.views.explorer.live import INK

SECONDS_BETWEEN = 2.0
"""Between two looks at the file, which a run writes as often."""

_MOST_POINTS = 400
_SILENT = 30.0


class TrainingCurve:
    """Loss and pass@1 by part, drawn as the run writes them; the last expression of a cell shows it.

    All is read from files, so that it makes no difference who trains, or whether this kernel was restarted: a new
    curve of the same run goes on where the old one was. Training must be in another process, since a kernel that
    trains shows nothing in between; there, `views.live.LiveCurve` is drawn by the training itself.

    Parameters
    ----------
    source
        The run's folder (`learning.training.run_folder`), or ``(lab, split, model, training)``, which also finds the
        stored history of a finished run.
    title
        Of the figure.

    Attributes
    ----------
    state
        What the run said when it was last looked at.
    widget
        What is shown.
    """

    def __init__(
        self,
        source: Path | str | tuple[Any, Split, ModelConfig, TrainingConfig],
        title: str = "Has the model finished learning?",
    ) -> None:
        charts.use_theme()
        self.title, self._read = title, _reader(source)
        self.state = TrainingState("waiting", pd.DataFrame(columns=["step", "name", "value"]))
        self._text = W.HTML(_line("waiting for the first steps"))
        self._live: alt.JupyterChart | None = None
        self._names: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self.widget = W.VBox([self._text], layout=W.Layout(flex="0 0 auto"))
        self.widget.add_class("synthlab-training")
        self.start()

    def start(self) -> None:
        """Look at the run every two seconds until it is finished; outside a running event loop, only once."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.refresh()
            return
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._poll())

    def refresh(self) -> TrainingState:
        """Look at the run now."""
        try:
            self._show(self._read())
        except Exception as error:  # a curve that cannot be read must not take its page down
            self._complain(error)
        return self.state

    def close(self) -> None:
        """Stop looking; what was drawn stays."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def static(self) -> alt.HConcatChart:
        """The same figure without a kernel.

        Raises
        ------
        ConfigurationError
            Before the run has written anything.
        """
        if self.state.history.empty:
            raise ConfigurationError("the run has written nothing yet: wait for its first steps, then refresh")
        return charts.learning_curve(_thinned(self.state.history), self.title, self.description)

    @property
    def description(self) -> str:
        """The state of the run in one line."""
        state = self.state
        if state.stage == "waiting":
            return "waiting for the first steps"
        steps = int(state.metrics["step"].max())
        of = f" of {state.num_steps:,}" if state.num_steps else ""
        words = [f"{state.stage}, step {steps:,}{of}"]
        if loss := state.last("loss"):
            words.append(f"loss {loss[1]:.3f}")
        parts = [name for name in state.history["name"].unique() if "loss" not in name]
        words += [f"{part} {found[1]:.1%}" for part in parts if (found := state.last(part))]
        if speed := state.last("tokens_per_second"):
            words.append(f"{speed[1]:,.0f} tokens/s")
        words.append(f"{state.seconds:,.0f} s")
        if state.silent > _SILENT:
            words.append(f"nothing new for {state.silent:,.0f} s: interrupted, or busy with a check")
        return " · ".join(words)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle = {"text/plain": f"TrainingCurve({self.description})"}
        return self.widget._repr_mimebundle_() | bundle

    async def _poll(self) -> None:
        while True:
            try:
                self._show(await asyncio.to_thread(self._read))  # neither a slow disk nor an import stops the kernel
            except Exception as error:
                self._complain(error)
            if self.state.stage == "finished":
                return
            await asyncio.sleep(SECONDS_BETWEEN)

    def _complain(self, error: Exception) -> None:
        self._text.value = _line(f"the run cannot be read ({error}); trying again")

    def _show(self, state: TrainingState) -> None:
        """Draw a state; one without metrics keeps what was drawn, since a stored run lets its folder go."""
        if state.metrics.empty:
            if not self.state.metrics.empty:
                self._text.value = _line(f"{self.description} · its folder is gone: finished and stored, or let go")
            return
        self.state = state
        self._text.value = _line(self.description)
        history = _thinned(state.history)
        if history.empty:
            return
        if list(history["name"].unique()) != self._names or self._live is None:
            self._draw(history)
        else:
            self._live.params.set_trait("history", _records(history))

    def _draw(self, history: pd.DataFrame) -> None:
        """A new chart, because its legends change; afterwards only its numbers do, without a flicker."""
        self._names = list(history["name"].unique())
        chart = _live_chart(history, self.title)
        if self._live is None:
            self._live = ChartWidget(chart)
            box = W.VBox([self._live], layout=W.Layout(flex="0 0 auto"))  # or the page clips its legend
            self.widget.children = (self._text, box)
        else:
            self._live.chart = chart
        # a browser that draws the chart anew reports the numbers it was first drawn with: tell it the present ones
        params = self._live.params
        params.observe(lambda _: params.set_trait("history", _records(_thinned(self.state.history))))


def _reader(source: Path | str | tuple[Any, Split, ModelConfig, TrainingConfig]) -> Any:
    """What reads the state of a run."""
    if isinstance(source, Path | str):
        return partial(watch_folder, Path(source))
    if not isinstance(source, tuple) or len(source) != 4:
        raise ConfigurationError("a curve needs the run's folder, or (lab, split, model, training)")
    lab, split, model, training = source
    return partial(watch_run, lab.corpus, split, model, training, lab.store)


def _thinned(history: pd.DataFrame) -> pd.DataFrame:
    """At most some hundred points of every name, the last among them."""
    place = history.groupby("name").cumcount(ascending=False)
    step = -(-history.groupby("name")["step"].transform("size") // _MOST_POINTS)
    return history[place % step == 0]


def _records(history: pd.DataFrame) -> list[dict[str, Any]]:
    """Points as the chart's parameter holds them."""
    history = history[np.isfinite(history["value"].to_numpy(float))]  # JSON knows no other numbers
    columns = (history[name].tolist() for name in ("step", "name", "value"))
    return [{"step": int(s), "name": n, "value": round(float(v), 5)} for s, n, v in zip(*columns, strict=True)]


def _live_chart(history: pd.DataFrame, title: str) -> alt.HConcatChart:
    """The learning curve whose points arrive as a parameter."""
    drawn = charts.learning_curve(history, title)
    panels = [
        panel.properties(data=alt.Data(values=[{}]))
        .transform_calculate(point="history")
        .transform_flatten(["point"])
        .transform_calculate(step="datum.point.step", name="datum.point.name", value="datum.point.value")
        .transform_filter(f"indexof(datum.name, 'loss') {'>=' if is_loss else '<'} 0")
        .encode(tooltip=["name:N", "step:Q", "value:Q"])
        for panel, is_loss in zip(drawn.hconcat, _panels(history), strict=True)
    ]
    drawn.hconcat = panels
    return drawn.add_params(alt.param(name="history", value=_records(history)))


def _panels(history: pd.DataFrame) -> list[bool]:
    """Whether each panel of a learning curve is one of losses."""
    return sorted(history["name"].str.contains("loss").unique().tolist(), reverse=True)


def _line(text: str) -> str:
    style = f"color: {INK}; white-space: pre-wrap; margin: 2px 0"
    return f'<pre class="synthlab-training-state" role="status" style="{style}">{html.escape(text)}</pre>'
