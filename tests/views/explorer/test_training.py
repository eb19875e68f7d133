"""The training curve without a browser: a file grows, and the chart's parameter follows."""

import asyncio
import html
from types import SimpleNamespace

import pytest

from synthlab.errors import ConfigurationError
from synthlab.learning.progress import METRICS_FILE
from synthlab.learning.training import train
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.views.explorer import training
from synthlab.views.explorer.training import TrainingCurve

LINES = [(10, "loss", 2.5, 1), (10, "flops", 1e6, 1), (20, "loss", 2.0, 2), (20, "tokens_per_second", 1234.5, 2)]
CHECK = [(30, "id", 0.25, 3), (30, "forced", 0.125, 3)]


def write(folder, rows, tail=""):
    lines = ["step,name,value,seconds", *(",".join(map(str, row)) for row in rows)]
    (folder / METRICS_FILE).write_text("\n".join(lines) + "\n" + tail)


def text(curve):
    return html.unescape(curve._text.value)


def drawn(curve):
    return [(p["step"], p["name"], p["value"]) for p in curve._live.params.history]


def test_it_waits_for_the_first_line(tmp_path):
    curve = TrainingCurve(tmp_path / "not yet")
    assert "waiting" in text(curve) and len(curve.widget.children) == 1
    (tmp_path / METRICS_FILE).touch()
    assert TrainingCurve(str(tmp_path)).state.stage == "waiting"
    with pytest.raises(ConfigurationError, match="wait for its first steps"):
        curve.static()


def test_it_follows_the_file_without_drawing_anew(tmp_path):
    write(tmp_path, LINES)
    curve = TrainingCurve(tmp_path)
    assert drawn(curve) == [(10, "loss", 2.5), (20, "loss", 2.0)]
    spec = curve._live.spec
    write(tmp_path, [*LINES, (30, "loss", 1.5, 3)])
    curve.refresh()
    assert drawn(curve)[-1] == (30, "loss", 1.5) and curve._live.spec is spec
    assert "training, step 30 · loss 1.500 · 1,234 tokens/s · 3 s" in text(curve)


def test_the_first_check_adds_a_panel_of_parts(tmp_path):
    write(tmp_path, LINES)
    curve = TrainingCurve(tmp_path)
    assert len(curve._live.spec["hconcat"]) == 1
    write(tmp_path, [*LINES, *CHECK])
    curve.refresh()
    loss, parts = curve._live.spec["hconcat"]
    assert parts["encoding"]["color"]["scale"]["domain"] == ["id", "forced"]
    assert "id 25.0% · forced 12.5%" in text(curve)
    assert [step["filter"] for step in loss["transform"] if "filter" in step] == ["indexof(datum.name, 'loss') >= 0"]


def test_a_chart_drawn_anew_is_told_the_present_numbers(tmp_path):
    write(tmp_path, LINES)
    curve = TrainingCurve(tmp_path)
    write(tmp_path, [*LINES, (30, "loss", 1.5, 3)])
    curve.refresh()
    curve._live._params = {"history": []}
    assert drawn(curve)[-1] == (30, "loss", 1.5)


def test_lines_that_are_half_written_or_not_a_number_are_left_out(tmp_path):
    write(tmp_path, [*LINES, (25, "loss", "inf", 3)], "30,los")
    curve = TrainingCurve(tmp_path)
    assert [point[0] for point in drawn(curve)] == [10, 20]


def test_long_histories_are_thinned_and_keep_their_last_point(tmp_path):
    write(tmp_path, [(k, "loss", 1 / k, k) for k in range(1, 5001)] + CHECK)
    curve = TrainingCurve(tmp_path)
    steps = [step for step, name, _ in drawn(curve) if name == "loss"]
    assert len(steps) <= training._MOST_POINTS and steps[-1] == 5000
    assert {name for _, name, _ in drawn(curve)} == {"loss", "id", "forced"}


def test_a_run_that_lets_its_folder_go_keeps_its_curve(tmp_path):
    write(tmp_path, LINES)
    curve = TrainingCurve(tmp_path)
    (tmp_path / METRICS_FILE).unlink()
    curve.refresh()
    assert "its folder is gone" in text(curve) and len(drawn(curve)) == 2


def test_a_silent_run_is_told_from_one_that_goes_on(tmp_path, monkeypatch):
    write(tmp_path, LINES)
    assert "nothing new" not in text(TrainingCurve(tmp_path))
    monkeypatch.setattr(training, "_SILENT", -1.0)
    assert "nothing new for" in text(TrainingCurve(tmp_path))


def test_what_goes_wrong_is_said_and_escaped(tmp_path, monkeypatch):
    curve = TrainingCurve(tmp_path)
    monkeypatch.setattr(curve, "_read", lambda: 1 / int("<b>"))
    curve.refresh()
    assert "cannot be read" in text(curve) and "<b>" not in curve._text.value


def test_it_polls_in_a_running_loop_until_it_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0.01)

    async def watch():
        curve = TrainingCurve(tmp_path)
        assert curve.state.stage == "waiting"
        write(tmp_path, LINES)
        while curve.state.stage == "waiting":
            await asyncio.sleep(0.01)
        monkeypatch.setattr(curve, "_read", lambda: 1 / 0)
        while "cannot be read" not in text(curve):
            await asyncio.sleep(0.01)
        assert not curve._task.done()
        task = curve._task
        curve.close()
        await asyncio.sleep(0.01)
        return curve, task

    curve, task = asyncio.run(asyncio.wait_for(watch(), 30))
    assert task.cancelled() and len(drawn(curve)) == 2


def test_a_run_is_watched_by_its_settings_and_shows_its_stored_history(corpus3, split3, store, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN", 0.01)
    model, config = ModelConfig(width=8, layers=1, heads=2), TrainingConfig(num_steps=20, batch_size=16, num_checks=1)
    source = SimpleNamespace(corpus=corpus3, store=store), split3, model, config
    assert TrainingCurve(source).state.stage == "waiting"
    run = train(corpus3, split3, model, config, store=store, progress=False)
    under_way = TrainingCurve(source)
    assert "training, step 20 of 20" in text(under_way)
    run.save(store)
    under_way.refresh()
    assert under_way.state.stage == "finished" and "finished, step 20 of 20" in text(under_way)

    async def anew():  # as after a restart of the kernel
        curve = TrainingCurve(source)
        await asyncio.wait_for(curve._task, 30)
        return curve

    curve = asyncio.run(anew())
    assert drawn(curve) == drawn(under_way) and curve.state.history.equals(run.history)


def test_other_sources_are_refused():
    with pytest.raises(ConfigurationError, match="the run's folder, or"):
        TrainingCurve(("lab", "split"))


def test_it_shows_its_widget_its_state_and_a_static_figure(tmp_path):
    write(tmp_path, [*LINES, *CHECK])
    curve = TrainingCurve(tmp_path, "Does <it> learn?")
    shown = curve._repr_mimebundle_()
    assert shown["text/plain"].startswith("TrainingCurve(training, step 30")
    assert "application/vnd.jupyter.widget-view+json" in shown
    spec = curve.static().to_dict()
    assert spec["title"]["text"] == "Does <it> learn?" and spec["title"]["subtitle"] == curve.description
    curve.static().save(tmp_path / "curve.png")
    curve._live.chart.save(tmp_path / "live.png")
