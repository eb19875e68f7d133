"""Which cells of a notebook a browser test runs."""

import nbformat
import pytest
from browser.lab import shortened

HEADING = "## Cut your own"


@pytest.fixture
def source(tmp_path):
    """A notebook with one part to test among others."""
    code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    cells = [
        code("import synthlab"), text("## Before"), code("slow = 1\nlab = 2\nslower = 3"), code("other"),
        text(f"{HEADING}\nby hand"), code("panel"), text("### More"), code("lab = 4"), text("## After"), code("end"),
    ]  # fmt: skip
    path = tmp_path / "source.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_named_code_and_all_code_under_the_heading_are_kept(source):
    notebook = shortened(source, cells=("import ",), lines=("lab = ",), heading=HEADING)
    assert [cell.source for cell in notebook.cells] == ["import synthlab", "lab = 2", "panel", "lab = 4"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cells": ("import torch",)}, "no code with 'import torch'"),
        ({"lines": ("panel",)}, "no code with 'panel' above"),
        ({"heading": "## Gone"}, "no heading '## Gone'"),
        ({"heading": "by hand"}, "no heading"),
    ],
)
def test_what_is_not_found_is_named(source, changed, message):
    with pytest.raises(LookupError, match=message):
        shortened(source, **{"cells": ("import ",), "lines": ("lab = ",), "heading": HEADING} | changed)


def test_a_heading_without_code_is_refused(source):
    notebook = nbformat.read(source, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.source not in ("panel", "lab = 4")]
    nbformat.write(notebook, source)
    with pytest.raises(LookupError, match="no code under"):
        shortened(source, cells=(), lines=(), heading=HEADING)
