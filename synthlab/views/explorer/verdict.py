"""From a brush to a verdict: a panel that starts the work in a process of its own, and follows it through files.

The kernel stays free, and the work survives its restart: a new panel finds it again by the split.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import ipywidgets as W

from synthlab.errors import ConfigurationError
from synthlab.presets import get_preset
from synthlab.splits.split import Split
from synthlab.store import Store, project_root
from synthlab.study.equal_cost import SEARCH
from synthlab.study.verdict import NUM_TASKS, Verdict, verdict_key, verdict_settings
from synthlab.study.verdict_progress import (
    FAILED,
    SOLVING,
    STATE_FILE,
    STOPPED,
    TRAINING,
    Progress,
    progress_folder,
    read_progress,
    stop,
)
from synthlab.views import charts, theme
from synthlab.views.explorer.chart_widget import ChartWidget
from synthlab.views.explorer.live import guarded, preformatted
from synthlab.views.explorer.training import TrainingCurve

SECONDS_BETWEEN = 1.0
"""Between two looks at a verdict under way."""

ERRORS_FILE = "stderr.txt"
_LAST_LINES, _LAST_BYTES = 8, 4000
_DOING = {
    TRAINING: "training the model",
    SOLVING: "the model answers, then search works at equal total cost",
}


class VerdictPanel:
    """Buttons that start and stop a verdict on the present split, its progress, and its figures.

    Parameters
    ----------
    store
        Where the split is saved, and everything else is kept.
    preset
        Name of the settings that say what is trained (`study.verdict.verdict_settings`).
    get_split_name
        Asked when the button is pressed: name or key of a saved split. It may save the split first; what it raises is
        shown.
    steps
        Of the training; the preset's by default.

    Attributes
    ----------
    verdict
        The verdict that is shown; None before there is one.
    widget
        What is shown.
    """

    def __init__(
        self, store: Store, preset: str, get_split_name: Callable[[], str], *, steps: int | None = None
    ) -> None:
        charts.use_theme()
        self.store, self.preset, self._get_split_name = store, preset, get_split_name
        self.settings = verdict_settings(get_preset(preset), steps=steps)
        self.verdict: Verdict | None = None
        self._key, self._split = "", ""
        self._process: subprocess.Popen[bytes] | None = None
        self._curve: TrainingCurve | None = None
        self._task: asyncio.Task[None] | None = None
        self.start_button = W.Button(
            description="Brush to verdict", icon="gavel", tooltip="train a small model, and let search compete"
        )
        self.stop_button = W.Button(description="Stop", icon="stop", disabled=True, tooltip="what was done is kept")
        self.bar = W.FloatProgress(min=0.0, max=1.0, layout=W.Layout(visibility="hidden"))
        self.text = W.HTML(preformatted("verdict"))
        self._figures = W.VBox(layout=W.Layout(flex="0 0 auto"))  # or the page clips a chart's legend
        buttons = W.HBox([self.start_button, self.stop_button, self.bar])
        self.widget = W.VBox([buttons, self.text, self._figures], layout=W.Layout(flex="0 0 auto"))
        self.widget.add_class("synthlab-verdict")
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)

    # ------------------------------------------------------------ what the buttons do

    @guarded
    def start(self, _button: Any = None) -> None:
        """Reach the verdict of the present split: one that is there is shown, one under way followed."""
        if self.is_running:
            raise ConfigurationError("a verdict is under way: wait for it, or stop it first")
        self._look_at(self._get_split_name())
        if not self.is_running and not self.store.has(Verdict.stage, self._key):
            self._launch()
        self._follow()

    @guarded
    def stop(self, _button: Any = None) -> None:
        """End the work; the same verdict goes on from there when it is started again."""
        self.stop_button.disabled = True
        try:
            if read_progress(self.store, self._key) is not None:
                stop(self.store, self._key)
            elif self._process is not None and self._process.poll() is None:
                self._process.terminate()  # before it has written where it is
        except Exception:
            self.stop_button.disabled = False  # it may be pressed again
            raise

    @guarded
    def attach(self, split_name: str) -> None:
        """Show the verdict of a saved split, or follow the one under way; none is started."""
        self._look_at(split_name)
        self._follow()

    @guarded
    def refresh(self) -> None:
        """Look at the files now."""
        if not self._key:
            return
        running = self.is_running  # before the store is asked: it may end in between
        if self.store.has(Verdict.stage, self._key):
            self._set_running(False)
            self._leave_curve()
            self._show_verdict(Verdict.load(self.store, self._key))
        elif running:
            self._show_work(read_progress(self.store, self._key))
        else:
            self._show_end(read_progress(self.store, self._key))

    def close(self) -> None:
        """Follow the work no longer; it goes on."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._leave_curve()

    def fail(self, message: str) -> None:
        """Show what went wrong with a press of a button."""
        if message:
            self.text.value = preformatted("verdict", message)

    @property
    def is_running(self) -> bool:
        """Whether a process is at the verdict."""
        if self._process is not None and self._process.poll() is None:
            return True
        progress = read_progress(self.store, self._key) if self._key else None
        return progress is not None and progress.is_alive

    def static(self) -> alt.VConcatChart:
        """The figures of the verdict without a kernel.

        Raises
        ------
        ConfigurationError
            Before there is a verdict.
        """
        if self.verdict is None:
            raise ConfigurationError("there is no verdict yet: start it, or attach the panel to a split that has one")
        return verdict_figures(self.verdict)

    # ------------------------------------------------------------ the process

    def _look_at(self, split_name: str) -> None:
        """Turn to the verdict of a saved split."""
        split = str(self.store.manifest(Split.stage, split_name)["key"])
        key = verdict_key(split, *self.settings)
        if key != self._key:
            self.close()
            self._split, self._key, self._process, self.verdict = split, key, None, None
            self._figures.children = ()

    def _launch(self) -> None:
        """Start the work in a session of its own, which neither an interrupt nor a restart of the kernel reaches."""
        folder = progress_folder(self.store, self._key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STATE_FILE).unlink(missing_ok=True)  # of an earlier attempt
        steps = str(self.settings[1].num_steps)
        command = [sys.executable, "-m", "synthlab", "verdict", self._split, "--preset", self.preset]
        command += ["--steps", steps, "--tasks", str(NUM_TASKS), "--json"]
        with (folder / ERRORS_FILE).open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, cwd=project_root(),
                env=os.environ | {"SYNTHLAB_STORE": str(self.store.root.resolve())}, start_new_session=True,
            )  # fmt: skip

    def _follow(self) -> None:
        """Look now, and every second while the work goes on; outside a running event loop, only once."""
        self.refresh()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self.is_running and (self._task is None or self._task.done()):
            self._task = loop.create_task(self._poll())

    async def _poll(self) -> None:
        running = True
        while running:
            await asyncio.sleep(SECONDS_BETWEEN)
            self.refresh()
            try:
                running = self.is_running
            except Exception:  # files that cannot be read now: `refresh` has said so, and looks again
                running = True
        self.refresh()

    # ------------------------------------------------------------ what is shown

    def _show_work(self, progress: Progress | None) -> None:
        self._set_running(True)
        if progress is None:
            self.text.value = preformatted("verdict", "starting")
            return
        doing = _DOING.get(progress.state, progress.state)
        self.text.value = preformatted("verdict", f"{doing} ({progress.seconds:,.0f} s)")
        if progress.state == TRAINING and progress.run is not None:
            self._show_training(progress.run, progress.steps)
        else:
            self._leave_curve()

    def _show_training(self, run: Path, steps: int) -> None:
        if self._curve is None:
            self._curve = TrainingCurve(run, "What does the model learn?")
            self._figures.children = (self._curve.widget,)
        elif self._task is None:
            self._curve.refresh()  # with an event loop it looks for itself, beside it
        done = self._curve.state.metrics["step"].max() if len(self._curve.state.metrics) else 0
        self.bar.value = float(done) / max(1, steps)

    def _show_end(self, progress: Progress | None) -> None:
        """The work ended without a verdict, or was never begun."""
        self._set_running(False)
        self._leave_curve()
        if progress is None and self._process is None:
            self.text.value = preformatted("verdict", "no verdict yet")
        elif progress is not None and progress.state == STOPPED:
            self.text.value = preformatted("verdict", "stopped; start again to go on from there")
        else:
            why = progress.error if progress is not None and progress.state == FAILED else "the process ended"
            log = _last_lines(progress_folder(self.store, self._key) / ERRORS_FILE)
            self.text.value = preformatted("verdict", "\n".join([f"no verdict: {why}", *log]))

    def _show_verdict(self, verdict: Verdict) -> None:
        self.text.value = preformatted("verdict", str(verdict))
        if self.verdict is None:
            self._figures.children = (ChartWidget(verdict_figures(verdict)),)
        self.verdict = verdict

    def _set_running(self, running: bool) -> None:
        self.start_button.disabled, self.stop_button.disabled = running, not running
        self.bar.layout.visibility = "visible" if running else "hidden"

    def _leave_curve(self) -> None:
        if self._curve is not None:
            self._curve.close()
            self._curve = None


def verdict_figures(verdict: Verdict) -> alt.VConcatChart:
    """Shares solved by part and solver, above the history of the training."""
    return alt.vconcat(
        verdict_bars(verdict), charts.learning_curve(verdict.history, "What did the model learn?"), spacing=30
    ).resolve_scale(color="independent", strokeDash="independent")


def verdict_bars(verdict: Verdict, title: str = "What is solved at equal total cost?") -> alt.LayerChart:
    """Share solved by part and solver with 95 % intervals; what either side spent is in the subtitle."""
    table = verdict.parts.assign(label=verdict.parts["solved"].map("{:.0%}".format))
    solvers, parts = list(dict.fromkeys(table["solver"])), theme.order(table["part"])
    tooltip: list[Any] = ["part", "solver", *(alt.Tooltip(f"{c}:Q", format=".1%") for c in ("solved", "low", "high"))]
    tooltip += [alt.Tooltip("num_tasks:Q", format=","), alt.Tooltip("mean_leaves:Q", format=".2f")]
    base = alt.Chart(table).encode(
        alt.X("part:N", sort=parts, title=None), alt.XOffset("solver:N", sort=solvers), tooltip=tooltip
    )
    y = alt.Y("solved:Q", title="solved", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1.08]))
    legend = alt.Legend(orient="bottom", columns=2, labelLimit=360)
    bars = base.mark_bar().encode(y, theme.color(table["solver"], None, legend=legend))
    rules = base.mark_rule(strokeWidth=1.5).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
    text = base.mark_text(dy=-7, fontSize=10).encode(alt.Y("high:Q"), alt.Text("label:N"))
    notes = [
        f"{c.solver}: {c.setup_seconds:.1f} s before the first task, {c.task_seconds:.1f} s on {c.num_tasks} tasks"
        + f" (of {c.allowed_seconds:.1f} s)" * (c.kind == SEARCH)
        for c in verdict.costs.itertuples()
    ]
    hedge = "95 % intervals; exploratory: one seed, one split, one short run"
    heading: Any = alt.Title(title, subtitle=[*map(str, notes), hedge])
    return theme.layers(bars, rules, text, title=heading, width=150 * len(parts), height=260)


def _last_lines(path: Path) -> list[str]:
    """The end of what the process wrote to its standard error."""
    try:
        text = path.read_bytes()[-_LAST_BYTES:].decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-_LAST_LINES:]
