"""Notebook 03's split explorer in a real JupyterLab: what is seen, dragged, typed, saved and found again.

One JupyterLab, one Chromium and one run of the notebook for all tests. Needs Chromium (Debian: ``apt-get install
chromium``); skipped by name where it is not found.
"""

import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browser.lab import CHROMIUM, ROOT, jupyter_lab, open_notebook, shortened
from PIL import Image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

MAPS = SYNTACTIC, SEMANTIC = "synthlab-map-syntactic", "synthlab-map-semantic"
READABLE = 4.5  # least contrast of text, WCAG 2.2 level AA

# intervals follow the axes; the rule comes last, since a brush may have changed it
REMEMBER = """\
first = {name: control.value for name, control in explorer.controls.by_name.items() if "interval" not in name}
first["rule"] = first.pop("rule")"""
RESET = """\
explorer.name.value = 'my-split'
for name, value in first.items(): explorer.controls[name].value = value"""
DIGEST = """\
import hashlib, numpy as np
def digest(split):
    arrays = [split.train, split.reserved, *(split.tests[name] for name in sorted(split.tests))]
    return split.key, hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()"""
CONTRAST = """(names) => {
    const channels = (color) => color.match(/[0-9.]+/g).map(Number);
    const light = (color) => channels(color).slice(0, 3).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
    const behind = (element) => {
        const {backgroundColor} = getComputedStyle(element), alpha = channels(backgroundColor)[3] ?? 1;
        return alpha > 0.5 || !element.parentElement ? backgroundColor : behind(element.parentElement);
    };
    const ratio = (element) => {
        const both = [light(getComputedStyle(element).color), light(behind(element))];
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
    return Math.min(...names.map(name => document.getElementById(name))
        .flatMap(element => [element, ...element.querySelectorAll('td, th, b')]).map(ratio));
}"""
FOCUSABLE = """() => [...document.getElementById('summary').closest('.jp-OutputArea-output')
    .querySelectorAll('select, input, textarea, button, .noUi-handle')].filter(e => e.offsetParent && !e.disabled)"""
FOCUS_FIRST = f"""() => {{
    const [first, ...others] = ({FOCUSABLE})();
    first.focus();
    window.left = new Set(others);
    return others.length;
}}"""
FOCUSED = "() => { window.left.delete(document.activeElement); return window.left.size; }"
NAMES_LEFT = "() => [...window.left].map(e => e.closest('.widget-inline-hbox')?.innerText ?? e.innerText)"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The notebook after a run, with the preset `tiny` and a store of its own."""
    folder = tmp_path_factory.mktemp("split-design")
    notebook = shortened(
        ROOT / "notebooks" / "03_split_design.ipynb",
        cells=("import SplitExplorer", "charts.use_theme()", "PRESET ="), lines=("lab = Lab(",),
        heading="## Cut your own",
    )  # fmt: skip
    nbformat.write(notebook, folder / "03_split_design.ipynb")
    environment = {"SYNTHLAB_PRESET": "tiny", "SYNTHLAB_STORE": str(folder / "store"), "PYTHONPATH": str(ROOT)}
    with jupyter_lab(folder, **environment) as url, open_notebook(url, "03_split_design.ipynb") as page:
        run(page)
        yield page


@pytest.fixture
def notebook(opened):
    """The notebook with the controls it opened with, and nothing brushed; no test may leave errors behind."""
    for box in MAPS:
        opened.double_click(box, (0.5, 0.4))  # clears a brush
    opened.python_until("explorer.brushed is None")
    if opened.choice("view").input_value() == "UMAP map":
        opened.python(RESET)
    else:
        opened.redrawn(MAPS, lambda: opened.python(RESET))
    opened.page.get_by_role("tab", name="Programs").click()
    yield opened
    noted = opened.outside + opened.problems
    opened.outside.clear()
    opened.problems.clear()
    assert noted == []


def run(page):
    """Run all cells, and wait for the maps."""
    page.run_all()
    for box in MAPS:
        page.chart(box)
    page.python(REMEMBER)


def numbers(text):
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


def brush(notebook, name):
    """Text of an element after a brush over points in the middle of the syntactic map."""
    x, y = notebook.point_near(SYNTACTIC)
    return notebook.changed(name, lambda: notebook.drag(SYNTACTIC, (x - 0.12, y - 0.12), (x + 0.12, y + 0.12)))


def test_a_brush_holds_out_what_lies_under_it(notebook):
    before = notebook.python("print(explorer.region)")
    counts = brush(notebook, "summary")
    print(f"release to counts: {notebook.latency:.2f} s")
    notebook.screenshot("explorer-brushed")
    notebook.python_until(f"str(explorer.region) != {before!r}")
    assert notebook.python("print(explorer.region.rule, explorer.region.space)") == "cluster syntactic"
    held, pool = map(int, notebook.python("print(explorer.parts.num_held, explorer.parts.num_pool)").split())
    assert f"{held:,}" in counts and f"{pool:,}" in counts
    assert "forced@4" in counts


def test_a_brush_on_axes_is_a_box_that_holds_all_of_it(notebook):
    notebook.redrawn(MAPS, lambda: notebook.choice("view").select_option("axes i, j"))
    brush(notebook, "summary")
    assert notebook.python("print(explorer.region.rule, explorer.region.space)") == "box syntactic"
    under = numbers(notebook.wait_for("marked", "under the brush"))[0]
    held = int(notebook.python("print(explorer.parts.num_held)"))
    assert abs(under - held) <= 0.01 * held  # the box is rounded


def test_the_other_map_highlights_what_is_brushed(notebook):
    notebook.choice("a brush").select_option("only looks")
    counts, before = notebook.text("summary"), notebook.pixels(SEMANTIC)
    marked = brush(notebook, "marked")
    notebook.wait_for_pixels(SEMANTIC, other_than=before)
    notebook.screenshot("explorer-linked")
    assert notebook.text("summary") == counts
    shown = notebook.python("print(explorer.brushed.inside.sum(), explorer.brushed.classes.sum())")
    assert numbers(marked)[:2] == list(map(int, shown.split()))


def test_a_click_on_a_point_shows_its_program(notebook):
    place = notebook.point_near(SEMANTIC, (0.35, 0.3))
    card = notebook.changed("card", lambda: notebook.click(SEMANTIC, place))
    print(f"click to card: {notebook.latency:.2f} s")
    notebook.screenshot("explorer-card")
    assert notebook.page.locator("#card svg").count() == 2  # the tree, and the outputs
    assert "leaves" in card


def test_a_typed_formula_is_asked_of_everything(notebook):
    notebook.page.get_by_role("tab", name="Your formula").click()
    field = notebook.page.get_by_label("formula")
    field.fill("x * (y + 1) - 3")
    before = notebook.pixels(SYNTACTIC)
    notebook.changed("formula", lambda: notebook.press("Ask"))
    print(f"formula to answer: {notebook.latency:.2f} s")
    answer = notebook.wait_for("formula", "what search answers, from")
    notebook.wait_for_pixels(SYNTACTIC, other_than=before)  # a star stands there
    notebook.screenshot("explorer-formula")
    assert "same function" in answer
    field.fill("x + ) y")
    field.press("Enter")
    mistake = notebook.wait_for("formula", "^")
    assert "x + ) y" in mistake and "Traceback" not in mistake


def test_a_split_is_found_again_after_the_kernel_has_gone(notebook):
    brush(notebook, "summary")
    notebook.python(DIGEST)
    notebook.press("Draw and match sizes")
    assert "pairs" in notebook.wait_for("summary", "matched")
    notebook.press("Save split")
    lines = notebook.wait_for("code", "no leaks found")
    notebook.screenshot("explorer-saved")
    saved = notebook.python("print(*digest(explorer.split))")
    notebook.restart()
    run(notebook)
    notebook.python(DIGEST)
    assert notebook.python("print(*digest(lab.named_split('my-split')))") == saved
    assert notebook.python(f"exec({lines!r}); print(*digest(split))") == saved


def test_zooming_draws_more_of_what_is_brushed_and_brushes_go_on(notebook):
    notebook.choice("a brush").select_option("only looks")
    brush(notebook, "marked")
    notebook.redrawn([SYNTACTIC], lambda: notebook.press("Zoom to brush"))
    notebook.screenshot("explorer-zoomed")
    assert int(notebook.python("print(len(explorer.maps.maps['syntactic'].rows))")) < 400
    brush(notebook, "marked")
    notebook.redrawn(MAPS, lambda: notebook.press("Zoom out"))
    assert notebook.python("print(len(explorer.maps.maps['syntactic'].rows))") == "400"


def test_the_view_is_exported(notebook):
    notebook.python("explorer.figures = explorer.store.root / 'figures'")
    notebook.press("Export")
    wrote = notebook.wait_for("code", "my-split.svg")
    assert all(Path(line.removeprefix("wrote ")).stat().st_size > 1000 for line in wrote.splitlines())


def test_a_brush_becomes_a_verdict_beside_the_kernel(notebook):
    notebook.page.get_by_label("name", exact=True).fill("judged")
    notebook.page.get_by_role("tab", name="Brush to verdict").click()
    notebook.press("Brush to verdict")
    notebook.wait_for("verdict", "training the model")
    assert notebook.python("print(6 * 7)") == "42"  # the kernel is free meanwhile
    said = notebook.wait_for("verdict", "Exploratory", seconds=180)
    notebook.page.wait_for_timeout(1000)
    notebook.screenshot("explorer-verdict")
    assert "search" in said


def test_an_error_is_shown_and_the_controls_live_on(notebook):
    name = notebook.page.get_by_label("name", exact=True)
    name.fill("no/name")
    notebook.press("Save split")
    notebook.wait_for("error", "no/name")
    notebook.screenshot("explorer-error")
    notebook.changed("summary", lambda: notebook.choice("rule").select_option("root"))
    assert notebook.text("error") == ""
    name.fill("my-split")


def test_every_control_is_reached_and_changed_by_keys(notebook):
    num_controls = notebook.page.evaluate(FOCUS_FIRST)
    for _ in range(num_controls + 20):  # Tab also stops at readouts and tabs
        notebook.page.keyboard.press("Tab")
        if notebook.page.evaluate(FOCUSED) == 0:
            break
    assert notebook.page.evaluate(NAMES_LEFT) == []
    notebook.choice("rule").focus()
    notebook.changed("summary", lambda: notebook.page.keyboard.press("ArrowDown"))
    assert notebook.choice("rule").input_value() == "cluster"
    assert notebook.python("print(explorer.region.rule)") == "cluster"


def test_everything_can_be_read_in_a_dark_theme(notebook):
    brush(notebook, "summary")
    notebook.theme("JupyterLab Dark")
    try:
        notebook.screenshot("explorer-dark")
        assert notebook.page.evaluate(CONTRAST, ["summary", "shift", "examples", "marked"]) >= READABLE
        assert heading_contrast(notebook.chart(SYNTACTIC).screenshot()) >= READABLE
    finally:
        notebook.theme("JupyterLab Light")
    assert notebook.page.evaluate(CONTRAST, ["summary", "shift", "examples", "marked"]) >= READABLE
    assert heading_contrast(notebook.chart(SYNTACTIC).screenshot()) >= READABLE


def heading_contrast(png):
    """Contrast of the darkest and the lightest pixel in the top tenth of a picture, where a chart's title stands."""
    rows = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) / 255
    top = rows[2 : len(rows) // 10]
    linear = np.where(top <= 0.04045, top / 12.92, ((top + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722]
    return (light.max() + 0.05) / (light.min() + 0.05)
