"""The split explorer in a real JupyterLab: run the cells, move a control, see the counts change, save.

Needs Chromium (Debian: ``apt-get install chromium``); skipped by name where it is not found.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

TOKEN = "explorer-test"
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
SESSION = "globalThis.jupyterapp?.shell.currentWidget?.sessionContext?"

SETUP = """\
from synthlab import POLYNOMIAL, Store, build_corpus
from synthlab.spaces.projection import project
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.views.explorer import SplitExplorer
corpus = build_corpus(POLYNOMIAL, 4)
spaces = {"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)}
maps = {kind: project(space, num_points=150) for kind, space in spaces.items()}"""
SHOW = "explorer = SplitExplorer(corpus, spaces, maps, store=Store('store'))\nexplorer"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def lab_url(tmp_path):
    """A JupyterLab of its own on a free port, with one notebook that shows the explorer."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(text) for text in (SETUP, SHOW)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "explorer.ipynb")
    config = tmp_path / "config" / "labconfig"
    config.mkdir(parents=True)
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "page_config.json").write_text(json.dumps(quiet))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "run",
        "IPYTHONDIR": "ip",
    }
    environment = os.environ | {name: str(tmp_path / folder) for name, folder in folders.items()}
    port = free_port()
    options = [
        f"--port={port}",
        "--port-retries=0",
        f"--ServerApp.root_dir={tmp_path}",
        f"--IdentityProvider.token={TOKEN}",
    ]
    command = [sys.executable, "-m", "jupyter", "lab", "--allow-root", "--no-browser", "--ip=127.0.0.1", *options]
    server = subprocess.Popen(
        [*command, "--LabApp.expose_app_in_browser=True"], env=environment, cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    wait_for_server(server, f"{url}/api?token={TOKEN}")
    yield url
    server.terminate()
    server.wait(timeout=30)


def wait_for_server(server: subprocess.Popen, url: str) -> None:
    for _ in range(120):
        assert server.poll() is None, "JupyterLab ended before it answered"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    raise AssertionError("JupyterLab did not answer within two minutes")


def run_all(page, url: str) -> None:
    page.goto(f"{url}/lab/workspaces/auto-1/tree/explorer.ipynb?reset&token={TOKEN}")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=120_000)
    idle = f"{SESSION}.session?.kernel?.status === 'idle'"
    page.wait_for_function(idle, timeout=120_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector("#summary", timeout=300_000)
    page.wait_for_selector(".vega-embed canvas", timeout=120_000)


def summary_after(page, action) -> str:
    """Text of the counts after an action has changed them."""
    before = page.inner_text("#summary")
    action()
    page.wait_for_function(
        "before => document.querySelector('#summary').innerText !== before", arg=before, timeout=60_000
    )
    return page.inner_text("#summary")


def test_controls_change_the_counts_and_a_split_is_saved(lab_url, tmp_path):
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    outside = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1500})
        page.on(
            "request",
            lambda r: None if "127.0.0.1" in r.url or r.url[:5] in ("data:", "blob:") else outside.append(r.url),
        )
        run_all(page, lab_url)
        first = page.inner_text("#summary")
        page.screenshot(path=SHOTS / "explorer-opened.png")
        rule = page.locator(".widget-dropdown:has-text('rule') select")
        second = summary_after(page, lambda: rule.select_option("root"))
        page.screenshot(path=SHOTS / "explorer-root.png")
        page.get_by_role("button", name="Save split").click()
        page.wait_for_function("document.querySelector('#code').innerText.includes('support_split')", timeout=60_000)
        page.screenshot(path=SHOTS / "explorer-saved.png")
        browser.close()
    assert first != second
    assert "forced" in second
    assert list((tmp_path / "store" / "split" / "names").glob("*.json"))
    assert outside == []
