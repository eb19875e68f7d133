"""What a widget calls may raise: the error stands in the panel, its buttons work again, and the next use succeeds.

Every callback is reached as the widget reaches it, by a changed trait or a click. Outside a kernel ipywidgets raises
what an observer raises and keeps what a click raises to itself, so a lost error would fail here and hide there:
hence what the panel shows is asked for.
"""

import html
import re

import pytest
from browser.lab import CHROMIUM, ROOT, jupyter_lab, open_notebook

from synthlab.store import Store
from synthlab.views.explorer import SplitExplorer
from synthlab.views.explorer import formula as formulas
from synthlab.views.explorer import panel as panels
from synthlab.views.explorer import results as results_module
from synthlab.views.explorer import verdict as verdicts
from synthlab.views.explorer.results import ResultExplorer
from synthlab.views.explorer.training import TrainingCurve

FAULT = "a widget's callback raises"
TOLD = "injected <b>fault</b>"


class Broken(Exception):
    """What no code of the package raises or expects."""


def broken(*_arguments, **_settings):
    raise Broken(TOLD)


def plain(value):
    return html.unescape(re.sub(r"<[^>]*>", " ", value))


@pytest.fixture(scope="module")
def explorer(corpus4, spaces4, tmp_path_factory):
    return SplitExplorer(
        corpus4, spaces4, store=Store(tmp_path_factory.mktemp("panels")), figures=tmp_path_factory.mktemp("figures")
    )


def click(name):
    return lambda panel: panel.buttons[name].click()


def other(panel, name):
    """Give a control another value."""
    control = panel.controls[name]
    if hasattr(control, "options"):
        values = [v[1] if isinstance(v, tuple) else v for v in control.options]
        control.value = next(v for v in values if v != control.value)
    elif isinstance(control.value, bool):
        control.value = not control.value
    else:
        control.value = control.value - 1 if control.value > 1 else control.value + 1


# what is broken, and how a user meets it
CALLBACKS = {
    "a setting": (lambda p: (p._preview, "parts"), lambda p: other(p, "seed")),
    "the view": (lambda p: (p.maps, "draw"), lambda p: other(p, "axis_j")),
    "the colour": (lambda p: (p.maps, "recolor"), lambda p: other(p, "color")),
    "the brushed space": (lambda p: (p.brush, "span_intervals"), lambda p: other(p, "brushed_space")),
    "drawing": (lambda p: (panels, "fast_shift"), click("draw")),
    "measuring": (lambda p: (panels, "shift_report"), click("measure")),
    "saving": (lambda p: (panels, "audit_corpus"), click("save")),
    "saving to a store that fails": (lambda p: (p.store, "name"), click("save")),
    "exporting": (lambda p: (panels, "save_chart"), click("export")),
    "zooming": (lambda p: (p.maps, "maps"), click("zoom_out")),
    "picking": (lambda p: (p.texts, "pick"), lambda p: p._pick("syntactic", 5)),
}


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("name", CALLBACKS)
def test_an_error_in_a_callback_of_the_split_explorer_stands_in_its_panel(name, explorer, monkeypatch, fired):
    monkeypatch.setattr(panels, "REPORT_SAMPLE", 60)
    where, use = CALLBACKS[name]
    owner, attribute = where(explorer)
    calls = []
    if attribute == "maps":  # a map of its own is broken
        owner, attribute = next(iter(owner.maps.values())), "zoom_out"

    def injected(*arguments, **settings):
        calls.append(arguments)
        broken()

    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, injected)
        use(explorer)
    assert calls, "the fault was not reached"
    shown = explorer.texts["error"].value
    assert f"Broken: {TOLD}" in html.unescape(shown)
    assert "<b>fault" not in shown, "shown as HTML"
    assert not any(button.disabled for button in explorer.buttons.values())
    use(explorer)
    assert "Broken" not in explorer.texts["error"].value and not any(b.disabled for b in explorer.buttons.values())
    fired()


ASKED = ["standing_of", "find_program", "places_of", "answer_search"]


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("where", ASKED)
def test_an_error_while_a_formula_is_answered_is_shown_and_the_same_formula_can_be_asked_again(
    where, explorer, monkeypatch, fired
):
    panel, text = explorer.formula, f"x * y + {1 + ASKED.index(where) % 2} * x{' + y' * (ASKED.index(where) // 2)}"
    panel.seconds = 0.2
    with monkeypatch.context() as patch:
        patch.setattr(formulas, where, broken)
        panel.field.value = text
    assert TOLD in html.unescape(panel.answer.value) and "<b>fault" not in panel.answer.value
    assert not panel.button.disabled
    panel.button.click()
    assert "Broken" not in panel.answer.value and "same function" in plain(panel.answer.value)
    fired()


@pytest.mark.fault(FAULT)
def test_an_error_of_the_split_that_is_asked_for_is_shown_beside_the_formula(explorer, monkeypatch, fired):
    panel = explorer.formula
    panel.field.value = ""
    with monkeypatch.context() as patch:
        patch.setattr(panel, "split", broken)
        panel.field.value = "x + y"
    assert TOLD in html.unescape(panel.answer.value) and not panel.button.disabled
    panel.button.click()
    assert "Broken" not in panel.answer.value
    fired()


@pytest.mark.fault(FAULT)
def test_errors_of_a_verdict_are_shown_and_both_buttons_come_back(explorer, monkeypatch, fired):
    panel = explorer.verdict
    with monkeypatch.context() as patch:
        patch.setattr(panel, "_get_split_name", broken)
        panel.start_button.click()
    assert TOLD in html.unescape(panel.text.value) and not panel.start_button.disabled
    with monkeypatch.context() as patch:
        patch.setattr(verdicts.subprocess, "Popen", broken)
        panel.start_button.click()
    assert TOLD in html.unescape(panel.text.value) and not panel.start_button.disabled
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "read_progress", broken)
        panel.stop_button.disabled = False
        panel.stop_button.click()
    assert TOLD in html.unescape(panel.text.value) and not panel.stop_button.disabled
    panel.refresh()
    assert "Broken" not in panel.text.value
    fired(3)


@pytest.mark.fault(FAULT)
def test_the_verdict_is_followed_further_after_files_that_could_not_be_read(explorer, monkeypatch, fired):
    import asyncio

    panel, looks = explorer.verdict, []

    def progress(*_):
        looks.append(1)
        if len(looks) < 4:
            broken()
        return None

    monkeypatch.setattr(verdicts, "SECONDS_BETWEEN", 0.001)
    monkeypatch.setattr(verdicts, "read_progress", progress)
    monkeypatch.setattr(panel, "_key", "0" * 16)
    asyncio.run(asyncio.wait_for(panel._poll(), 10))
    assert len(looks) > 4 and "Broken" not in panel.text.value
    fired(3)


@pytest.fixture(scope="module")
def results(corpus4, spaces4, split4, trained4):
    return ResultExplorer(corpus4, spaces4, {}, split4, trained4, progress=False)


def _descends(panel):
    return panel.failures.controls["descending"].value


LISTS = {
    "a page turned": lambda p: p.failures.controls["on"].click(),
    "a filter": lambda p: setattr(
        p.failures.controls["descending"], "value", not p.failures.controls["descending"].value
    ),
}


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("name", LISTS)
def test_an_error_in_the_list_of_answers_is_shown_and_the_list_goes_on(name, results, monkeypatch, fired):
    results.failures.page = 0
    with monkeypatch.context() as patch:
        patch.setattr(results.failures, "texts", broken)
        LISTS[name](results)
    assert TOLD in html.unescape(results.texts["error"].value)
    LISTS[name](results)
    assert "Broken" not in results.texts["error"].value and not results.failures._filling
    fired()


RESULTS = {
    "a choice": ("likeliest_answers", lambda p: setattr(p.failures.list, "index", 0)),
    "a point": ("program_card", lambda p: p._pick("syntactic", int(p.points["syntactic"].rows[0]))),
}


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("name", RESULTS)
def test_an_error_while_a_task_is_opened_is_shown(name, results, monkeypatch, fired):
    attribute, use = RESULTS[name]
    results.failures.list.index = None
    with monkeypatch.context() as patch:
        patch.setattr(results_module, attribute, broken)
        use(results)
    assert TOLD in html.unescape(results.texts["error"].value)
    results.failures.list.index = None
    use(results)
    assert "Broken" not in results.texts["error"].value and results.chosen is not None
    fired()


@pytest.mark.fault(FAULT)
def test_a_training_curve_says_why_it_cannot_be_read_and_goes_on(tmp_path, fired):
    curve = TrainingCurve(tmp_path)
    read = curve._read
    curve._read = broken
    curve.refresh()
    assert TOLD in html.unescape(curve._text.value) and "<b>fault" not in curve._text.value
    curve._read = read
    assert curve.refresh().stage == "waiting"
    fired()


# ---------------------------------------------------------------- in a real browser

CELL = """\
from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.universe.corpus import build_corpus
from synthlab.views.explorer import SplitExplorer, panel
corpus = build_corpus(POLYNOMIAL, 3)
explorer = SplitExplorer(corpus, {"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)})
explorer"""
BREAK = """\
kept = panel.save_chart
def broken(*_): raise RuntimeError("injected <img src=x onerror=window.hacked=1>")
panel.save_chart = broken"""


@pytest.mark.fault(FAULT)
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_a_browser_the_error_of_a_button_stands_in_the_panel_and_the_button_works_again(tmp_path, fired):
    import nbformat

    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}  # or JupyterLab asks for one
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "panel.ipynb")
    environment = {"SYNTHLAB_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    with jupyter_lab(tmp_path, **environment) as url, open_notebook(url, "panel.ipynb") as page:
        page.run_all()
        page.python(f"explorer.figures = __import__('pathlib').Path({str(tmp_path)!r})")
        page.python(BREAK)
        page.press("Export")
        shown = page.wait_for("error", "RuntimeError: injected <img src=x onerror=window.hacked=1>")
        assert shown and page.page.evaluate("() => window.hacked === undefined")
        assert page.page.locator("#error img").count() == 0
        assert page.python("print(explorer.buttons['export'].disabled)") == "False"
        page.python("panel.save_chart = kept")
        page.press("Export")
        page.wait_for("code", "wrote ")
        page.wait_for_empty("error")
        assert page.outside == []
    fired()
