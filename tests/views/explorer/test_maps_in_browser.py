"""A live map in Chromium, drawn by the script that JupyterLab would run, against a stand-in for the widget's model.

Needs Chromium (Debian: ``apt-get install chromium``); skipped by name where it is not found.
"""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthlab.views import theme
from synthlab.views.explorer.map_chart import HEIGHT, WIDTH
from synthlab.views.explorer.maps import LiveMap, MapPoints

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
PAUSE = 600
"""Milliseconds after which the page has told of a brush or click; it waits 150 for another one."""
TRAITS = ("spec", "_params", "_vl_selections", "debounce_wait", "max_wait", "embed_options", "local_tz")
PAGE = """<!doctype html><meta charset="utf-8"><div id="map"></div><script type="module">
class Model {
  constructor(state) { Object.assign(this, {state, handlers: {}, sent: [], pending: {}}); }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = this.pending[name] = value; }
  save_changes() { this.sent.push(this.pending); this.pending = {}; }
  on(event, handler) { (this.handlers[event] ??= []).push(handler); }
  off(event) { delete this.handlers[event]; }
  receive(name, value) {
    this.state[name] = value;
    return Promise.all((this.handlers['change:' + name] ?? []).map(f => f({changed: {[name]: value}})));
  }
}
window.model = new Model(await (await fetch('/state.json')).json());
const script = (await import('/widget.js')).default;
await script.render({model, el: document.querySelector('#map')});
window.isDrawn = true;
</script>"""


class Shown:
    """A map and the page that shows it; messages are carried by hand, so that nothing depends on timing."""

    def __init__(self, page, live):
        self.page, self.live, self.problems = page, live, []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: self.problems.append(line.text) if line.type in ("error", "warning") else None)
        state = {name: getattr(live.live, name) for name in TRAITS}
        self.files = {
            "http://map.test/": (PAGE, "text/html"),
            "http://map.test/state.json": (json.dumps(state), "application/json"),
            "http://map.test/widget.js": (live.live._esm, "text/javascript"),
        }
        page.route("**/*", self.answer)
        page.goto("http://map.test/")
        page.wait_for_function("window.isDrawn", timeout=120_000)
        self.to_kernel()

    def answer(self, route):
        """Serve the page; nothing else may be asked for."""
        body, kind = self.files[route.request.url]
        route.fulfill(body=body, content_type=kind)

    def to_kernel(self):
        """Bring the kernel what the page has sent since."""
        for message in self.page.evaluate("model.sent.splice(0)"):
            for name in ("_vl_selections", "_params", "local_tz"):
                if name in message:
                    setattr(self.live.live, name, message[name])

    def to_page(self, *names):
        for name in names or ("_params",):
            self.page.evaluate("([name, value]) => model.receive(name, value)", [name, getattr(self.live.live, name)])

    def calibrate(self):
        """Learn from a click where on the page a place lies."""
        box = self.page.locator("canvas").bounding_box()
        spot = np.array([box["x"] + box["width"] // 2, box["y"] + box["height"] // 2], dtype=float)
        place = self.click_at(*spot)[:2]
        slope = np.array([WIDTH, -HEIGHT]) / [high - low for low, high in self.live.extent]
        self.pixel = lambda *wanted: (spot + slope * np.subtract(wanted, place)).tolist()

    def click_at(self, x, y):
        """Click on the page, and say what place the kernel hears."""
        self.page.mouse.click(float(x), float(y))
        self.page.wait_for_timeout(PAUSE)
        self.to_kernel()
        return self.live.live.params.place

    def drag(self, start, end):
        """Brush from place to place."""
        self.page.mouse.move(*self.pixel(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.pixel(*np.mean([start, end], axis=0)))
        self.page.mouse.move(*self.pixel(*end))
        self.page.mouse.up()
        self.page.wait_for_timeout(PAUSE)
        self.to_kernel()

    def pixels(self):
        """What the canvas shows (height, width, 3)."""
        shot = self.page.locator("canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def count(self, color):
        """Pixels of a colour."""
        return int((self.pixels() == np.array([*bytes.fromhex(color[1:])])).all(axis=2).sum())


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 520, "height": 520})
    yield page
    page.close()


def ring(num=400):
    """Points on a circle, whose middle is empty."""
    angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
    roots = np.where(np.cos(angle) > 0, "right", "left")

    def describe(rows):
        return pd.DataFrame({"program": [f"<b>{r}</b>" for r in rows], "leaves": rows % 3 + 1, "root": roots[rows]})

    titles = ("UMAP 1 (no units)", "UMAP 2 (no units)")
    return MapPoints(np.arange(num), np.cos(angle), np.sin(angle), *titles, "map_x", "map_y", describe)


@pytest.fixture
def shown(page):
    live = LiveMap("syntactic", "By what is written")
    live.draw(ring(), "part")
    shown = Shown(page, live)
    shown.calibrate()
    yield shown
    assert shown.problems == []


def test_colours_highlights_and_the_star_follow_the_kernel(shown):
    assert shown.count(theme.BLUE) < 100  # the legend's
    shown.live.paint(np.zeros(400, dtype=np.uint8))
    shown.to_page()
    blended = shown.pixels().copy()
    assert not (blended == [*bytes.fromhex(theme.YELLOW[1:])]).all(axis=2).any()
    shown.live.mark(shown.live.frame["root"] == "left")
    shown.live.star(0.0, 0.0)
    shown.to_page()
    assert shown.count(theme.BLUE) > 1000 and shown.count(theme.YELLOW) > 50
    shown.to_kernel()
    shown.live.mark(None)
    shown.live.star(None)
    shown.to_page()
    assert np.abs(shown.pixels() - blended).max() == 0


def test_a_drag_brushes_and_a_click_picks_the_nearest_even_inside_the_brush(shown):
    brushes, picks = [], []
    shown.live.on_brush(brushes.append), shown.live.on_pick(picks.append)
    shown.drag((0.5, 1.05), (1.05, -0.5))
    assert list(brushes[-1]) == ["map_x", "map_y"] and not picks
    assert np.allclose(list(brushes[-1].values()), [(0.5, 1.05), (-0.5, 1.05)], atol=0.02)
    place = shown.pixel(*(float(shown.live.frame[name][20]) for name in ("map_x", "map_y")))
    shown.click_at(*place)
    assert picks == [20] and brushes[-1] != {}
    shown.click_at(*place)
    assert picks == [20, 20]
    shown.click_at(*shown.pixel(0.0, 0.0))
    assert picks == [20, 20] and brushes[-1] == {}


def test_a_redrawn_map_forgets_the_old_one_and_still_answers(shown):
    heard = []
    shown.live.on_brush(heard.append)
    for color in ("leaves", "root", "part"):
        shown.live.draw(ring(), color)
        shown.to_page("_params", "_vl_selections", "spec")
        shown.to_kernel()
    assert shown.page.evaluate("model.handlers['change:_params'].length") == 1
    assert shown.page.locator("canvas").count() == 1
    shown.live.paint(np.ones(400, dtype=np.uint8))
    shown.live.mark(np.ones(400, dtype=bool))
    shown.to_page()
    assert shown.count(theme.RED) > 1000
    shown.drag((-1.05, -1.05), (0.0, 1.05))
    assert np.allclose(heard[-1]["map_x"], (-1.05, 0.0), atol=0.02)
    shown.live.zoom_to(heard[-1])
    shown.to_page("_params", "_vl_selections", "spec")
    shown.to_kernel()
    shown.calibrate()
    assert shown.live.live.params.parts == "3" * len(shown.live.rows)


def test_the_density_lies_below_the_points(page, monkeypatch):
    monkeypatch.setattr(theme, "MAX_POINTS", 40)
    live = LiveMap("semantic", "many")
    live.draw(ring(4000), "part")
    shown = Shown(page, live)
    grey = (np.ptp(shown.pixels(), axis=2) == 0) & (shown.pixels()[:, :, 0] < 245)
    assert grey.sum() > 3000 and shown.problems == []
