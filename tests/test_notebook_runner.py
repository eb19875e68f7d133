"""Notebooks run in order in kernels of their own, and the first cell that fails is named."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from synthlab import notebook_runner
from synthlab.errors import ArtifactError, SynthlabError
from synthlab.notebook_runner import Page, notebook_paths, run_notebooks

CODE = "import os\nprint(os.environ['SYNTHLAB_PRESET'], 6 * 7)"
PASSING = [new_markdown_cell("# A title & more"), new_code_cell(CODE)]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout without the package's notebooks."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(notebook_runner, "project_root", lambda: tmp_path)
    return tmp_path


def write(checkout, name, cells):
    path = checkout / "notebooks" / f"{name}.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(nbformat.writes(new_notebook(cells=cells, metadata=kernel)))
    return path


def test_notebooks_are_those_with_a_number_in_their_order(checkout):
    for name in ("10_late", "02_early", "draft", "2_wrong"):
        write(checkout, name, [])
    assert [p.name for p in notebook_paths()] == ["02_early.ipynb", "10_late.ipynb"]


def test_a_folder_without_notebooks_is_named(checkout):
    with pytest.raises(ArtifactError, match=f"no notebooks below {checkout}: run from a checkout"):
        run_notebooks("tiny")


def test_a_notebook_becomes_a_page_and_the_failing_one_is_named(checkout, capsys):
    source = write(checkout, "01_works", PASSING)
    before = source.read_bytes()
    write(checkout, "02_fails", [new_code_cell("1 + 1"), new_code_cell("raise ValueError('no such thing')")])
    pages, index = run_notebooks("tiny", only="01")
    assert [(p.name, p.title) for p in pages] == [("01_works", "A title & more")] and pages[0].seconds > 0
    executed = nbformat.read(checkout / "build" / "tiny" / "01_works.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "tiny 42\n" and executed.cells[1].execution_count == 1
    assert "tiny 42" in (checkout / "build" / "tiny" / "01_works.html").read_text()
    assert 'href="01_works.html"' in index.read_text() and "A title &amp; more" in index.read_text()
    assert source.read_bytes() == before
    with pytest.raises(SynthlabError, match=r"02_fails.ipynb failed: ValueError: no such thing"):
        run_notebooks("tiny")
    assert not (checkout / "build" / "tiny" / "02_fails.html").exists()
    assert "01_works ..." in capsys.readouterr().err


def test_executed_notebooks_are_written_back_when_asked(checkout):
    source = write(checkout, "01_works", PASSING)
    run_notebooks("quick", in_place=True)
    written = nbformat.read(source, as_version=4)
    assert written.cells[1].outputs[0].text == "quick 42\n"
    assert source.read_bytes() == (checkout / "build" / "quick" / "01_works.ipynb").read_bytes()
    assert all("execution" not in cell.metadata for cell in written.cells)


def test_the_index_escapes_what_it_shows():
    page = notebook_runner._index("<p>", [Page("01_<b>", "<script>alert(1)</script>", 3.4)])
    assert "<script>" not in page and "<b>" not in page and "<p>" not in page
    assert "&lt;script&gt;" in page and "3 s" in page
