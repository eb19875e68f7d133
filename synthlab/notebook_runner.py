"""Executes the notebooks in order and links the pages that come out."""

from __future__ import annotations

import html
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError, ConfigurationError, SynthlabError
from synthlab.store import project_root

_CELL_TIMEOUT = 3600
_WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Page:
    """One executed notebook."""

    name: str
    title: str
    seconds: float


def notebook_paths() -> list[Path]:
    """The ordered notebooks of the checkout.

    Raises
    ------
    ArtifactError
        If the package runs without its notebooks.
    """
    paths = sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise ArtifactError(f"no notebooks below {project_root()}: run from a checkout of the repository")
    return paths


def run_notebooks(preset: str, *, only: str = "", in_place: bool = False) -> tuple[list[Page], Path]:
    """Execute notebooks with a preset into ``build/<preset>``, each also as a page.

    Parameters
    ----------
    preset
        Handed to the notebooks by the environment.
    only
        Prefix of the names to run; all by default.
    in_place
        Write the executed notebooks back, for committing them.

    Returns
    -------
    tuple
        Pages in order, and the path of the index page.

    Raises
    ------
    SynthlabError
        Naming the notebook and the error of the first cell that fails.
    """
    folder = project_root() / "build" / preset
    folder.mkdir(parents=True, exist_ok=True)
    pages, paths = [], notebook_paths()
    if in_place:  # the tour comes last, since it shows what the others write
        paths = [*paths[1:], paths[0]]
    chosen = [path for path in paths if path.stem.startswith(only)]
    if not chosen:
        raise ConfigurationError(f"no notebook starts with {only!r}: choose from {', '.join(p.stem for p in paths)}")
    for path in chosen:
        print(f"{path.stem} ...", file=sys.stderr, flush=True)
        pages.append(_run_one(path, folder, preset, in_place))
        print(f"{path.stem} {pages[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    write_atomically(folder / "index.html", _index(preset, sorted(pages, key=lambda p: p.name)).encode())
    return pages, folder / "index.html"


def _run_one(path: Path, folder: Path, preset: str, in_place: bool) -> Page:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from nbconvert import HTMLExporter

    notebook: Any = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    client = NotebookClient(notebook, timeout=_CELL_TIMEOUT, kernel_name="python3", store_widget_state=False,
                            resources={"metadata": {"path": str(path.parent)}})  # fmt: skip
    try:
        client.execute(env={**os.environ, "SYNTHLAB_PRESET": preset})
    except CellExecutionError as error:
        first = (str(error.evalue).splitlines() or [""])[0]
        raise SynthlabError(f"{path.name} failed: {error.ename}: {first}") from error
    except (DeadKernelError, CellTimeoutError) as error:
        raise SynthlabError(f"{path.name} failed: {type(error).__name__}: run it in JupyterLab to see where") from error
    seconds = time.perf_counter() - start
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:  # a saved widget reopens as an error; the picture under it stays
            cell.outputs = [o for o in cell.outputs if _WIDGET not in o.get("data", {})]
    text = nbformat.writes(notebook) + "\n"
    for target in (folder / path.name, *([path] if in_place else [])):
        write_atomically(target, text.encode())
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    write_atomically(folder / f"{path.stem}.html", page.encode())
    return Page(path.stem, _title(notebook), seconds)


def _title(notebook: Any) -> str:
    first = notebook.cells[0].source.splitlines() if notebook.cells else []
    return first[0].lstrip("# ") if first else ""


def _index(preset: str, pages: list[Page]) -> str:
    rows = "\n".join(
        f'<li><a href="{html.escape(p.name)}.html">{html.escape(p.name)}</a> {html.escape(p.title)} '
        f"<small>{p.seconds:.0f} s</small></li>"
        for p in pages
    )
    style = "body{font:18px/1.6 sans-serif;max-width:46em;margin:3em auto;color:#222}small{color:#777}"
    name = html.escape(preset)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>synthlab {name}</title><style>{style}</style>'
    return f'{head}<h1>synthlab, preset {name}</h1><ol start="0">{rows}</ol></html>'
