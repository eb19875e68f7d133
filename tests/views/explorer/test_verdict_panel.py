"""The verdict panel without a browser: buttons are pressed, files change, the panel's HTML is read."""

import asyncio
import html
import os
import time
from types import SimpleNamespace

import pytest

from synthlab.errors import ConfigurationError, SplitError
from synthlab.presets import get_preset
from synthlab.store import Store
from synthlab.study import verdict_progress
from synthlab.study.verdict import Verdict, hold_verdict, verdict_key, verdict_settings
from synthlab.study.verdict_progress import Diary, progress_folder
from synthlab.views.explorer import verdict as views
from synthlab.views.explorer.verdict import VerdictPanel, verdict_bars

STEPS = 6
SETTINGS = verdict_settings(get_preset("tiny"), steps=STEPS)


def text(panel):
    return html.unescape(panel.text.value)


@pytest.fixture
def saved(store, split3, corpus3):
    corpus3.save(store)
    store.name(split3, "products")
    return store


@pytest.fixture
def key(split3):
    return verdict_key(split3.key, *SETTINGS)


@pytest.fixture
def started(monkeypatch):
    """Processes that the panel starts: none is; each can be told how it ended."""
    processes = []

    def start(command, **options):
        process = SimpleNamespace(command=command, options=options, code=None, terminated=0)
        process.poll = lambda: process.code
        process.terminate = lambda: setattr(process, "terminated", process.terminated + 1)
        processes.append(process)
        return process

    monkeypatch.setattr(views.subprocess, "Popen", start)
    return processes


@pytest.fixture
def panel(saved):
    return VerdictPanel(saved, "tiny", lambda: "products", steps=STEPS)


def diary_of(store, key):
    folder = progress_folder(store, key)
    folder.mkdir(parents=True, exist_ok=True)
    return Diary(folder / "verdict.json")


@pytest.fixture(scope="module")
def finished(corpus3, split3, tmp_path_factory):
    """A store in which the verdict is reached."""
    store = Store(tmp_path_factory.mktemp("finished"))
    corpus3.save(store)
    store.name(split3, "products")
    model, training = SETTINGS
    return store, hold_verdict(corpus3, split3, store=store, model=model, training=training, progress=False)


# ---------------------------------------------------------------- starting


def test_the_button_starts_one_process_that_outlives_the_kernel(panel, started, split3, saved):
    panel.start_button.click()
    (process,) = started
    assert process.command[1:5] == ["-m", "synthlab", "verdict", split3.key]
    pairs = dict(zip(process.command[5:-1:2], process.command[6:-1:2], strict=True))
    assert pairs == {"--preset": "tiny", "--steps": str(STEPS), "--tasks": "100"} and process.command[-1] == "--json"
    assert process.options["start_new_session"] is True
    assert process.options["env"]["SYNTHLAB_STORE"] == str(saved.root)
    assert text(panel).endswith("starting</pre>") and panel.text.value.startswith('<pre id="verdict"')
    assert panel.start_button.disabled and not panel.stop_button.disabled
    panel.start()
    assert len(started) == 1


def test_what_cannot_be_started_is_said_in_the_panel(saved, started):
    def unsaved():
        raise SplitError("save the <split> first")

    panel = VerdictPanel(saved, "tiny", unsaved)
    panel.start_button.click()
    assert "save the &lt;split&gt; first" in panel.text.value and not started
    panel = VerdictPanel(saved, "tiny", lambda: "nobody")
    panel.start_button.click()
    assert "known names are products" in text(panel) and not started and not panel.start_button.disabled
    with pytest.raises(ConfigurationError, match="unknown preset"):
        VerdictPanel(saved, "huge", lambda: "products")


def test_a_name_that_is_given_to_another_split_meanwhile_changes_nothing(panel, started, saved, split3, split4):
    panel.start_button.click()
    saved.name(split4, "products")
    panel.refresh()
    assert started[0].command[4] == split3.key and panel.is_running
    panel.start()
    assert "a verdict is under way" in text(panel) and len(started) == 1  # two at once would share the cores
    started[0].code = 0
    panel.start()
    assert started[1].command[4] == split4.key


# ---------------------------------------------------------------- following


def test_the_panel_follows_the_states_and_the_curve(panel, started, saved, key, tmp_path):
    panel.start_button.click()
    diary = diary_of(saved, key)
    diary.say("auditing")
    panel.refresh()
    assert "auditing (0 s)" in text(panel) and panel._figures.children == ()
    (tmp_path / "metrics.csv").write_text("step,name,value,seconds\n1,loss,2.5,0.1\n3,loss,1.5,0.2\n3,id,0.25,0.2\n")
    diary.say("training", run=str(tmp_path), steps=STEPS)
    panel.refresh()
    panel.refresh()
    assert "training the model" in text(panel) and panel.bar.value == 0.5
    assert panel._figures.children == (panel._curve.widget,)
    assert set(panel._curve.state.history["name"]) == {"loss", "id"}
    diary.say("solving", tasks=9)
    panel.refresh()
    assert "search works at equal total cost" in text(panel) and panel._curve is None


def test_work_of_a_process_that_this_kernel_did_not_start_is_found_again(saved, key, started):
    diary_of(saved, key).say("auditing")
    panel = VerdictPanel(saved, "tiny", lambda: "products", steps=STEPS)
    panel.attach("products")
    assert panel.is_running and "auditing" in text(panel)
    panel.start()
    assert not started  # it is followed, not started again


def test_nothing_is_started_by_attaching(panel, started):
    panel.attach("products")
    assert "no verdict yet" in text(panel) and not started and not panel.is_running
    panel.attach("nobody")
    assert "known names are products" in text(panel)


def test_a_finished_verdict_is_shown_at_once(finished, started):
    store, verdict = finished
    panel = VerdictPanel(store, "tiny", lambda: "products", steps=STEPS)
    with pytest.raises(ConfigurationError, match="no verdict yet"):
        panel.static()
    panel.start_button.click()
    assert not started and html.escape(str(verdict)) in panel.text.value
    assert panel.verdict.key == verdict.key and len(panel._figures.children) == 1
    figure = panel._figures.children[0]
    panel.refresh()
    assert panel._figures.children[0] is figure  # nothing flickers
    assert panel.static().to_dict()["vconcat"]
    assert not panel.start_button.disabled and panel.stop_button.disabled and panel.bar.layout.visibility == "hidden"


def test_other_settings_have_another_verdict(finished, started):
    panel = VerdictPanel(finished[0], "tiny", lambda: "products", steps=STEPS + 1)
    panel.attach("products")
    assert panel.verdict is None and "no verdict yet" in text(panel)


# ---------------------------------------------------------------- stopping and failing


def test_stop_ends_the_process_and_what_was_done_is_kept(panel, started, saved, key, monkeypatch):
    told = []
    monkeypatch.setattr(views, "stop", lambda *where: told.append(where))
    panel.start_button.click()
    panel.stop_button.click()
    assert started[0].terminated == 1 and told == [] and panel.stop_button.disabled  # nothing is written yet
    diary = diary_of(saved, key)
    diary.say("training", run="somewhere", steps=STEPS)
    panel.stop()
    assert started[0].terminated == 1 and told == [(saved, key)]  # a second signal would cut off what is saved
    diary.say("stopped")
    started[0].code = 130
    panel.refresh()
    assert "stopped; start again to go on from there" in text(panel) and not panel.start_button.disabled
    panel.start_button.click()
    assert len(started) == 2 and not (progress_folder(saved, key) / "verdict.json").exists()


def test_a_process_that_fails_leaves_its_last_lines(panel, started, saved, key):
    panel.start_button.click()
    log = progress_folder(saved, key) / "stderr.txt"
    log.write_text("\n".join(f"line {number}" for number in range(50)) + "\nsynthlab: no <room> left\n")
    started[0].code = 2
    panel.refresh()
    assert "no verdict: the process ended" in text(panel) and "synthlab: no &lt;room&gt; left" in panel.text.value
    assert "line 49" in text(panel) and "line 9\n" not in text(panel) and not panel.start_button.disabled
    diary_of(saved, key).say("failed", error="the split leaks")
    log.unlink()
    panel.refresh()
    assert "no verdict: the split leaks" in text(panel)


def test_a_process_that_was_killed_is_not_waited_for(saved, key, monkeypatch):
    diary_of(saved, key).say("training", run="somewhere", steps=STEPS)
    monkeypatch.setattr(verdict_progress, "is_alive", lambda found: False)
    panel = VerdictPanel(saved, "tiny", lambda: "products", steps=STEPS)
    panel.attach("products")
    assert not panel.is_running and "the process ended" in text(panel)


# ---------------------------------------------------------------- in an event loop


def test_in_an_event_loop_the_panel_looks_for_itself_until_the_work_ends(panel, started, saved, key, monkeypatch):
    monkeypatch.setattr(views, "SECONDS_BETWEEN", 0.01)

    async def session():
        panel.start()
        diary = diary_of(saved, key)
        diary.say("auditing")
        await asyncio.sleep(0.1)
        seen = text(panel)
        started[0].code = 0
        diary.say("stopped")
        await asyncio.wait_for(panel._task, 5)
        return seen

    assert "auditing" in asyncio.run(session())
    assert "stopped" in text(panel)


def test_a_closed_panel_looks_no_longer_and_the_work_goes_on(panel, started, monkeypatch):
    monkeypatch.setattr(views, "SECONDS_BETWEEN", 0.01)

    async def session():
        panel.start()
        await asyncio.sleep(0.03)
        task = panel._task
        panel.close()
        await asyncio.gather(task, return_exceptions=True)
        panel.refresh()
        panel._follow()  # as when the split is shown again
        assert panel._task is not task
        panel.close()
        return task

    assert asyncio.run(session()).cancelled() and started[0].terminated == 0


def test_a_real_process_reaches_the_verdict(saved, key, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    panel = VerdictPanel(saved, "tiny", lambda: "products", steps=STEPS)
    panel.start_button.click()
    assert os.getpgid(panel._process.pid) != os.getpgid(0)
    end = time.monotonic() + 300
    while panel.is_running and time.monotonic() < end:
        time.sleep(0.2)
    panel.refresh()
    assert panel.verdict is not None, text(panel)
    assert panel.verdict.key == key and saved.has(Verdict.stage, key) and "Exploratory" in text(panel)


# ---------------------------------------------------------------- the figure


def test_bars_show_shares_with_intervals_and_what_either_side_spent(finished):
    verdict = finished[1]
    spec = verdict_bars(verdict).to_dict()
    (rows,) = spec["datasets"].values()
    assert len(rows) == len(verdict.parts) and all(row["low"] <= row["solved"] <= row["high"] for row in rows)
    notes = spec["title"]["subtitle"]
    assert len(notes) == verdict.parts["solver"].nunique() + 1 and "exploratory" in notes[-1]
    assert notes[0].startswith("model, greedy: ") and "(of " in notes[2] and "(of " not in notes[0]
    bars, rules, _ = spec["layer"]
    assert bars["encoding"]["y"]["field"] == "solved" and rules["encoding"]["y2"]["field"] == "high"
    assert bars["encoding"]["xOffset"]["sort"] == verdict.parts["solver"].unique().tolist()
