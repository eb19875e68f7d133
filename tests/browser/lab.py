"""A JupyterLab of its own in Chromium: opens a notebook, runs it, drags over its charts, reads page and kernel.

Needs Chromium (Debian: ``apt-get install chromium``).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build" / "screenshots"

Point = tuple[float, float]
"""Place on a chart as shares of its width and height, from the upper left corner."""

_TOKEN = "synthlab-test"
_FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
_FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run", "IPYTHONDIR": "ip",
}  # fmt: skip
_QUIET = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
_SECOND = 1000.0  # of Playwright, in milliseconds
_SESSION = "globalThis.jupyterapp?.shell.currentWidget?.sessionContext"

_RUN_ALL = """async () => {
    const run = (name) => jupyterapp.commands.execute(`notebook:${name}`);
    window.finished = false;
    await run('clear-all-cell-outputs');
    run('run-all-cells').finally(() => { window.finished = true; });
}"""
_FAILURES = """() => [...jupyterapp.shell.currentWidget.content.model.cells]
    .flatMap(cell => cell.type === 'code' ? cell.outputs.toJSON() : [])
    .filter(output => output.output_type === 'error')
    .map(output => `${output.ename}: ${output.evalue}`)"""
_EXECUTE = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({code, store_history: false, stop_on_error: false});
    const answer = {text: '', error: ''};
    future.onIOPub = ({header, content}) => {
        if (header.msg_type === 'stream' && content.name === 'stdout') answer.text += content.text;
        if (header.msg_type === 'error') answer.error = `${content.ename}: ${content.evalue}`;
    };
    await future.done;
    return answer;
}"""
# the clock starts at the last event of the user's and stops in the frame that first shows another text
_WATCH = """(name) => {
    const text = () => document.getElementById(name)?.innerText ?? '';
    const watch = window.watch = {before: text(), last: performance.now(), seconds: null};
    const touched = () => { watch.last = performance.now(); };
    for (const kind of ['pointerup', 'change', 'keydown']) document.addEventListener(kind, touched, true);
    const look = () => {
        if (text() === '' || text() === watch.before) return requestAnimationFrame(look);
        watch.seconds = (performance.now() - watch.last) / 1000;
        for (const kind of ['pointerup', 'change', 'keydown']) document.removeEventListener(kind, touched, true);
    };
    look();
}"""

_COLOURED = """(canvas, [left, top]) => {
    const {width, height} = canvas, [x0, x1] = [0.2 * width, 0.8 * width], [y0, y1] = [0.2 * height, 0.65 * height];
    const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
    let best = null, least = Infinity;
    for (let y = Math.ceil(y0); y < y1; y++) for (let x = Math.ceil(x0); x < x1; x++) {
        const [r, g, b] = data.subarray(4 * (y * width + x));
        const far = Math.hypot(x - left * width, y - top * height);
        if (Math.max(r, g, b) - Math.min(r, g, b) > 60 && far < least) [best, least] = [[x / width, y / height], far];
    }
    return best;
}"""


# ---------------------------------------------------------------- the notebook that is tested


def shortened(source: Path, *, cells: Sequence[str], lines: Sequence[str], heading: str) -> nbformat.NotebookNode:
    """Copy of a notebook with all code under one heading, and of the code before it what is named.

    Parameters
    ----------
    source
        The notebook.
    cells, lines
        Texts in the cells that are kept, and in the lines that are kept of other cells.
    heading
        First line of the markdown cell where the part starts; it ends before the next heading of its level.

    Raises
    ------
    LookupError
        If a text or the heading is not found, or no code follows the heading.
    """
    notebook = nbformat.read(source, as_version=4)
    first = [cell.source.split("\n", 1)[0] for cell in notebook.cells]
    if heading not in first:
        raise LookupError(f"{source.name} has no heading {heading!r}")
    start = first.index(heading)
    code = [cell.source if cell.cell_type == "code" else "" for cell in notebook.cells]
    missing = [text for text in (*cells, *lines) if not any(text in source for source in code[:start])]
    if missing:
        raise LookupError(f"{source.name} has no code with {missing[0]!r} above {heading!r}")
    level = heading.split(" ", 1)[0]
    ends = [k for k, line in enumerate(first) if k > start and line.split(" ", 1)[0] == level]
    under = [*filter(None, code[start : min(ends, default=len(code))])]
    if not under:
        raise LookupError(f"{source.name} has no code under {heading!r}")
    kept = [*filter(None, (_kept(source, cells, lines) for source in code[:start])), *under]
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in kept]
    return notebook


def _kept(source: str, cells: Sequence[str], lines: Sequence[str]) -> str:
    if any(text in source for text in cells):
        return source
    return "\n".join(line for line in source.splitlines() if any(text in line for text in lines))


# ---------------------------------------------------------------- the server


@contextmanager
def jupyter_lab(folder: Path, **environment: str) -> Iterator[str]:
    """Address of a JupyterLab that serves a folder, has no settings of the user's, and ends with the context."""
    config = folder / "config" / "labconfig"
    config.mkdir(parents=True)
    (config / "page_config.json").write_text(json.dumps(_QUIET))
    port = _free_port()
    options = ("--ip=127.0.0.1", f"--port={port}", "--port-retries=0", f"--ServerApp.root_dir={folder}",
               f"--IdentityProvider.token={_TOKEN}", "--LabApp.expose_app_in_browser=True")  # fmt: skip
    own = {name: str(folder / part) for name, part in _FOLDERS.items()}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--allow-root", "--no-browser", *options],
            env=os.environ | own | environment, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for_server(server, f"{url}/api?token={_TOKEN}")
            yield url
        finally:
            server.terminate()
            server.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_server(server: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(480):
        assert server.poll() is None, "JupyterLab ended before it answered"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError("JupyterLab did not answer within two minutes")


# ---------------------------------------------------------------- the page


@contextmanager
def open_notebook(url: str, name: str) -> Iterator[Notebook]:
    """A notebook of a server from `jupyter_lab` in a Chromium of its own, with a kernel that waits for work."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            notebook = Notebook(browser.new_page(viewport={"width": 1500, "height": 1800}))
            notebook.page.goto(f"{url}/lab/workspaces/auto-1/tree/{name}?reset&token={_TOKEN}")
            notebook.page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=120 * _SECOND)
            notebook.wait_until_idle()
            yield notebook
        finally:
            browser.close()


class Notebook:
    """An open notebook.

    Attributes
    ----------
    page
        Playwright's page.
    outside
        Addresses beyond this machine that the page asked for.
    problems
        What the page reported as errors on its console.
    latency
        Seconds from the last event of the user's to the change that `changed` saw last.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.outside: list[str] = []
        self.problems: list[str] = []
        self.latency = 0.0
        page.on("request", lambda request: self._note_request(request.url))
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error.stack)))

    def _note_request(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self.outside.append(url)

    # ------------------------------------------------------------ the kernel

    def wait_until_idle(self) -> None:
        """Wait for a kernel without work."""
        self.page.wait_for_function(f"{_SESSION}?.session?.kernel?.status === 'idle'", timeout=120 * _SECOND)

    def run_all(self, seconds: float = 300) -> None:
        """Run every cell; outputs of an earlier run are cleared first."""
        self.page.evaluate(_RUN_ALL)
        self.page.wait_for_function("window.finished", timeout=seconds * _SECOND)
        failures = self.page.evaluate(_FAILURES)
        assert not failures, failures

    def restart(self) -> None:
        """Give the notebook a new kernel, as its menu does."""
        self.page.evaluate(f"{_SESSION}.restartKernel()")
        self.wait_until_idle()

    def python(self, code: str) -> str:
        """What code prints in the notebook's kernel, without the last line's end."""
        answer = self.page.evaluate(_EXECUTE, code)
        assert not answer["error"], f"{answer['error']} in {code!r}"
        return str(answer["text"]).rstrip("\n")

    def python_until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true in the kernel."""
        end = time.monotonic() + seconds
        while self.python(f"print(bool({expression}))") != "True":
            assert time.monotonic() < end, f"still false after {seconds} s: {expression}"
            self.page.wait_for_timeout(0.1 * _SECOND)

    # ------------------------------------------------------------ texts and controls

    def text(self, name: str) -> str:
        """Visible text of the element with an id."""
        return str(self.page.inner_text(f"#{name}"))

    def changed(self, name: str, action: Callable[[], object], seconds: float = 60) -> str:
        """Text of an element, not empty, after an action has changed it; the `latency` is kept."""
        self.page.evaluate(_WATCH, name)
        action()
        self.page.wait_for_function("window.watch.seconds !== null", timeout=seconds * _SECOND)
        self.latency = float(self.page.evaluate("window.watch.seconds"))
        return self.text(name)

    def wait_for(self, name: str, part: str, seconds: float = 60) -> str:
        """Text of an element as soon as it holds a part."""
        holds = "([name, part]) => document.getElementById(name)?.innerText.includes(part)"
        self.page.wait_for_function(holds, arg=[name, part], timeout=seconds * _SECOND)
        return self.text(name)

    def wait_for_empty(self, name: str, seconds: float = 60) -> None:
        """Wait until an element has no text."""
        empty = "name => document.getElementById(name)?.innerText.trim() === ''"
        self.page.wait_for_function(empty, arg=name, timeout=seconds * _SECOND)

    def press(self, button: str) -> None:
        """Click a button by its text."""
        self.page.locator(f"button.jupyter-button:text-is('{button}')").click()

    def choice(self, label: str) -> Any:
        """Dropdown by its label."""
        return self.page.locator(f".widget-dropdown:has(label:text-is('{label}')) select")

    def theme(self, name: str) -> None:
        """Change JupyterLab's theme: ``JupyterLab Dark`` or ``JupyterLab Light``."""
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_selector(f"body[data-jp-theme-name='{name}']", state="attached", timeout=30 * _SECOND)
        self.page.wait_for_timeout(0.5 * _SECOND)  # its style sheet arrives a moment later

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page below ``build/screenshots``."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    # ------------------------------------------------------------ charts

    def chart(self, box: str) -> Any:
        """Canvas of the chart in the box with a CSS class, scrolled into view and drawn."""
        canvas = self.page.locator(f".{box} .vega-embed canvas").first
        canvas.wait_for(timeout=60 * _SECOND)
        canvas.scroll_into_view_if_needed()
        return canvas

    def drag(self, box: str, start: Point, end: Point) -> None:
        """Press at one place of a chart, move in twelve steps to another, release."""
        x0, y0 = self._place(box, start)
        x1, y1 = self._place(box, end)
        mouse = self.page.mouse
        mouse.move(x0, y0)
        mouse.down()
        mouse.move(x1, y1, steps=12)
        mouse.up()

    def click(self, box: str, place: Point) -> None:
        """Click at a place of a chart."""
        self.page.mouse.click(*self._place(box, place))

    def double_click(self, box: str, place: Point) -> None:
        """Double-click at a place of a chart."""
        self.page.mouse.dblclick(*self._place(box, place))

    def _place(self, box: str, share: Point) -> Point:
        bounds = self.chart(box).bounding_box()
        return bounds["x"] + share[0] * bounds["width"], bounds["y"] + share[1] * bounds["height"]

    def pixels(self, box: str) -> str:
        """What a chart shows, as a data URL."""
        return str(self.chart(box).evaluate("canvas => canvas.toDataURL()"))

    def point_near(self, box: str, place: Point = (0.5, 0.4)) -> Point:
        """Where a point is drawn in colour, near a place and not at the rim of the plot."""
        found = self.chart(box).evaluate(_COLOURED, list(place))
        assert found, f"{box} shows no point in colour"
        return float(found[0]), float(found[1])

    def redrawn(self, boxes: Sequence[str], action: Callable[[], object]) -> None:
        """Do what makes charts be drawn anew, and wait for the new ones."""
        for box in boxes:
            self.chart(box).evaluate("canvas => { canvas.dataset.old = ''; }")
        action()
        for box in boxes:
            self.page.wait_for_selector(f".{box} .vega-embed canvas:not([data-old])", timeout=60 * _SECOND)

    def wait_for_pixels(self, box: str, other_than: str, seconds: float = 30) -> None:
        """Wait until a chart shows something else."""
        end = time.monotonic() + seconds
        while self.pixels(box) == other_than:
            assert time.monotonic() < end, f"{box} shows the same after {seconds} s"
            self.page.wait_for_timeout(0.05 * _SECOND)
