"""However large the thing and however hostile its names: a bounded table with the total, and text that stays text."""

import html
import json
import os
import re
from dataclasses import replace

import altair as alt
import numpy as np
import pandas as pd
import pytest
from browser.lab import CHROMIUM, ROOT, jupyter_lab, open_notebook

from synthlab import notebook_runner
from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.language.grammar import POLYNOMIAL, Grammar
from synthlab.language.operator import ADD
from synthlab.spaces.projection import Projection, umap_settings
from synthlab.spaces.space import Space
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.study.cards import model_card
from synthlab.universe.corpus import Corpus
from synthlab.views import charts, theme
from synthlab.views.explorer.live import preformatted
from synthlab.views.explorer.panel import SplitExplorer
from synthlab.views.explorer.summary import table
from synthlab.views.export import save_table

ROWS, HOSTILE = "millions of rows on display", "HTML and script in names and texts"
MILLION, BYTES = 1_000_000, 20_000

TAGS = [
    "<img src=x onerror=window.hacked=1>", "</script><script>window.hacked=1</script>",
    '"><svg/onload=window.hacked=1>',
    "<b onmouseover='window.hacked=1'>x</b>", "&lt;img src=x onerror=window.hacked=1&gt;", "javascript:window.hacked=1",
    "{{constructor.constructor('window.hacked=1')()}}", "${window.hacked=1}", "\x1b[2J\x1b]0;owned\x07",
    "![](http://example.org/x.png)", "[x](javascript:window.hacked=1)", "`x`|y\n# z", "\\input{/etc/passwd}",
    "=cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0", "+1+cmd|x", "-2+3+cmd|x", "\t=1+1", "\r=1+1",
]  # fmt: skip


# ---------------------------------------------------------------- a million rows


def million(split3):
    """Carriers of a million rows, made in no time; none is checked, since none is used but for being shown."""
    ids = np.broadcast_to(np.int64(7), MILLION)
    frame = pd.DataFrame({"program": np.zeros(MILLION, dtype=np.int64)})
    split = replace(split3, train=ids, targets=ids, tests={"id": ids})
    xy = np.zeros((MILLION, 2), dtype=np.float32)
    return {
        "split": split,
        "table": frame,
        "projection": Projection("0" * 16, umap_settings(100), np.arange(MILLION), xy),
    }


def size_of(shown):
    """Bytes of everything that a page would get."""
    text = [repr(shown), str(shown)]
    for method in ("_repr_html_", "_repr_mimebundle_"):
        if callable(getattr(shown, method, None)) and not isinstance(shown, type):
            text.append(json.dumps(getattr(shown, method)(), default=str))
    return max(len(t.encode()) for t in text)


@pytest.mark.fault(ROWS)
def test_a_million_rows_are_shown_in_a_few_kilobytes_with_their_total(
    split3, corpus4, spaces4, trained4, tmp_path, fired
):
    shown = million(split3)
    for name, thing in shown.items():
        assert size_of(thing) < BYTES, name
        assert "1,000,000" in repr(thing) or "1000000" in repr(thing), name
    others = [corpus4, *spaces4.values(), trained4, corpus4.frame(), split3, Store(tmp_path), POLYNOMIAL]
    assert all(isinstance(k, t) for k, t in zip(others, (Corpus, Space, Space)))
    for thing in others:
        assert size_of(thing) < BYTES, type(thing)
    assert f"{corpus4.num_programs:,}" in repr(corpus4)
    assert len(shown["split"].frame()) == 2 and shown["split"].frame()["items"].max() == MILLION
    fired(len(shown) + len(others))


@pytest.mark.fault(ROWS)
def test_a_chart_embeds_no_million_rows(fired):
    num = 200_000
    frame = pd.DataFrame({
        "map_x": np.zeros(num), "map_y": np.zeros(num), "part": "train", "program": "x", "leaves": 1, "class_size": 1,
        "nodes": 1, "depth": 1, "root": "x",
    })  # fmt: skip
    try:
        drawn = charts.space_map(frame, "part", "many")
        text = json.dumps(drawn.to_dict())
        assert len(text) < 5_000_000
    except (alt.MaxRowsError, ConfigurationError) as error:
        assert "rows" in str(error)
    fired()


@pytest.mark.fault(ROWS)
def test_the_panel_of_a_large_universe_stays_small(corpus4, spaces4, tmp_path, fired):
    """86,705 programs: what is drawn is a sample, what is said are counts."""
    panel = SplitExplorer(corpus4, spaces4, store=Store(tmp_path))
    said = [widget.value for widget in panel.texts.by_name.values()]
    assert sum(len(text.encode()) for text in said) < 2 * BYTES
    assert len(json.dumps(panel.static().to_dict())) < 12_000_000
    fired()


# ---------------------------------------------------------------- hostile names


@pytest.mark.fault(HOSTILE)
def test_texts_of_panels_and_tables_are_escaped(fired):
    for text in TAGS:
        for shown in (preformatted("code", text), table("summary", text, (text,), [(text, text)])):
            assert "<img" not in shown and "<svg" not in shown and "<script" not in shown and "<b on" not in shown
            assert html.escape(text) in shown
        assert (
            "<img" not in pd.DataFrame({text: [text]})._repr_html_()
            and "<script" not in pd.DataFrame({text: [text]})._repr_html_()
        )
    fired(len(TAGS))


@pytest.mark.fault(HOSTILE)
def test_no_name_can_be_given_that_is_a_path_markup_or_a_command(store, split3, fired):
    for text in [*TAGS, "../../etc/passwd", "/etc/passwd", "a/b", "CON\x00", "", "x" * 65, "-rf"]:
        with pytest.raises(ConfigurationError) as caught:
            store.name(split3, text)
        assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    assert store.names(Split.stage) == {}
    fired(len(TAGS) + 7)


@pytest.mark.fault(HOSTILE)
def test_operator_symbols_that_are_markup_are_refused_or_escaped(fired):
    kept = 0
    for symbol in [*TAGS, "<", "&", "<b>", "'", '"']:
        try:
            operator = replace(ADD, symbol=symbol)
            grammar = Grammar(name="hostile", variables=("x",), constants=(1,), operators=(operator,))
        except (SynthlabError, TypeError):
            continue
        kept += 1
        assert grammar.tokens[-1] == symbol and symbol.isprintable() and not symbol.startswith("<img")
        assert html.escape(symbol) in table("summary", "", (), [(symbol, "1")])
    assert kept <= 5, "a symbol that is markup was taken for an operator"
    fired(len(TAGS) + 5)


@pytest.mark.fault(HOSTILE)
def test_exports_run_nothing_in_a_spreadsheet_or_in_latex(tmp_path, fired):
    frame = pd.DataFrame({"region": TAGS, "root": ["+", "-", "*"] * 6 + ["+"], "value": np.linspace(-1, 1, len(TAGS))})
    _, tex = save_table(frame, tmp_path, "hostile")
    back = pd.read_csv(tmp_path / "hostile.csv", keep_default_na=False)
    for cell in back["region"]:
        assert cell.lstrip()[0] not in "=@+-", cell
    assert len(back) == len(frame)
    assert back["root"].tolist() == frame["root"].tolist() and np.allclose(back["value"], frame["value"])
    text = tex.read_text()
    assert "\\input{" not in text and "\\textbackslash" in text
    hostile_header = pd.DataFrame({"=cmd|x": [1.0], "\\input{x}": [2.0]})
    csv, tex = save_table(hostile_header, tmp_path, "header")
    assert csv.read_text().startswith("'=cmd|x,") and "\\input{" not in tex.read_text()
    fired(len(TAGS) + 2)


@pytest.mark.fault(HOSTILE)
def test_model_cards_and_the_index_of_pages_show_names_as_text(fired):
    page = notebook_runner.Page("00_x", "<img src=x onerror=window.hacked=1>", 1.0)
    for text in TAGS:
        shown = notebook_runner._index(text, [page, notebook_runner.Page(text, text, 2.0)])
        assert "<img" not in shown and "<svg" not in shown and "<script" not in shown
    results = pd.DataFrame({
        "part": "id", "class_id": [1, 2], "solved": [True, False], "leaves": 1, "weight": 1, "status": "solved",
        "log_probability": -1.0,
    })  # fmt: skip
    for text in TAGS:
        row = {"trial": "0" * 16, "group": "support", "region": text, "space": text, "variant": text, "grammar": text,
               "device": text, "seed": 0, "parameters": 10, "num_train": 3}  # fmt: skip
        card = model_card(row, results, {"preset": text, "versions": {text: text}})
        assert "<img" not in card and "<svg" not in card and "<script" not in card and "\x1b" not in card
        assert not re.search(r"(?<!\\)\]\((javascript|http)", card)
    fired(2 * len(TAGS))


@pytest.mark.fault(HOSTILE)
def test_no_text_reaches_the_display_that_reads_files(fired):
    """`IPython.display.HTML("/path")` shows that file, so nothing of the package calls it, nor its relatives."""
    import ast

    readers = {"HTML", "Markdown", "Javascript", "SVG", "Image", "Latex", "IFrame", "FileLink"}
    found = []
    for path in sorted((ROOT / "synthlab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("IPython"):
                found += [(path.name, alias.name) for alias in node.names if alias.name in readers]
    assert found == []
    fired(len(readers))


# ---------------------------------------------------------------- in a real browser

CELL = """\
import altair as alt, pandas as pd
from synthlab.language.grammar import POLYNOMIAL
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.universe.corpus import build_corpus
from synthlab.views import charts
from synthlab.views.explorer import SplitExplorer
charts.use_theme()  # as every notebook does: of itself Altair lets `</script>` in a name end its script
TAGS = {tags!r}
corpus = build_corpus(POLYNOMIAL, 3)
explorer = SplitExplorer(corpus, {{"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)}})
explorer.controls["rule"].value = "root"
explorer.name.value = TAGS[0]
explorer"""
TABLES = """\
from IPython.display import display
display(pd.DataFrame({"region": TAGS, TAGS[0]: TAGS}))
rows = [{"step": 1, "name": tag, "value": 0.5} for tag in TAGS[:4]]
charts.learning_curve(pd.DataFrame(rows), TAGS[0], TAGS[1])"""


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def run_of(path):
    """The notebook executed and exported as `make run` does it."""
    folder = path.parent / "out"
    folder.mkdir()
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        return notebook_runner._run_one(path, folder, "tiny", False), folder
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.mark.fault(HOSTILE)
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_a_browser_no_name_runs_as_script_in_the_explorer_in_a_notebook_or_in_its_page(tmp_path, fired):
    import nbformat

    cells = [nbformat.v4.new_code_cell(CELL.format(tags=TAGS)), nbformat.v4.new_code_cell(TABLES)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, tmp_path / "hostile.ipynb")
    _, folder = run_of(tmp_path / "hostile.ipynb")
    environment = {"SYNTHLAB_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    with jupyter_lab(tmp_path, **environment) as url, open_notebook(url, "hostile.ipynb") as page:
        page.run_all()
        page.press("Save split")
        page.wait_for("error", TAGS[0])
        for tag in TAGS[:8]:
            page.python(f"explorer.formula.ask({tag!r})")
        page.page.wait_for_timeout(1000)
        assert page.page.evaluate("() => window.hacked === undefined")
        exported = page.page.context.browser.new_page()
        exported.goto((folder / "hostile.html").as_uri())
        exported.wait_for_timeout(1500)
        assert exported.evaluate("() => window.hacked === undefined") and "onerror" in exported.inner_text("body")
    fired(3 * len(TAGS))


def test_the_flag_would_be_set_by_a_page_that_does_not_escape(tmp_path):
    """So that the test above can fail."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    (tmp_path / "open.html").write_text(f"<body>{TAGS[0]}</body>")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "open.html").as_uri())
        page.wait_for_function("window.hacked === 1", timeout=10_000)
        browser.close()
    assert theme.COLORS
