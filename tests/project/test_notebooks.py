"""The style of the notebooks: executed, light, short cells that call named functions, and no shell."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = [
    "00_tour",
    "01_enumeration",
    "02_program_spaces",
    "03_split_design",
    "04_training",
    "05_density",
    "06_support",
    "07_scaling",
    "08_search",
]
MAX_BYTES, MAX_LINES, MEDIAN_LINES = 1_000_000, 15, 4
SHELL_MAGICS = {"bash", "sh", "!", "sx", "system", "script", "cmd", "perl", "ruby", "pip", "conda", "mamba", "uv"}
SHELL_CALLS = {"system", "getoutput", "popen", "Popen", "check_call", "check_output"}
TOPS = "home|root|Users|tmp|var|opt|usr|mnt|srv|data|work|workspace|content|private|scratch"
MACHINE_PATH = re.compile(rf"(?<![\w./:<])/(?:{TOPS})/[\w.]|(?<!\w)[A-Za-z]:\\{{1,2}}\w|(?<!\w)~/\w")

Notebook = nbformat.NotebookNode


def code_cells(notebook: Notebook) -> list[Notebook]:
    """Code cells that hold code."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def num_lines(source: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in source.splitlines())


def parsed(source: str) -> ast.AST:
    """Syntax tree of a cell, with magics and shell escapes as the calls that they are."""
    plain = TransformerManager().transform_cell(source)
    return compile(plain, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def uses_shell(source: str) -> bool:
    """Whether a cell leaves Python."""
    calls = (n for n in ast.walk(parsed(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute))
    for call in calls:
        if call.func.attr in SHELL_CALLS or ast.unparse(call.func) == "subprocess.run":
            return True
        if call.func.attr in {"run_line_magic", "run_cell_magic"} and call.args[0].value in SHELL_MAGICS:
            return True
    return False


def defines_class(source: str) -> bool:
    """Whether a cell holds a class."""
    return any(isinstance(n, ast.ClassDef) for n in ast.walk(parsed(source)))


def readable_outputs(cell: Notebook) -> str:
    """Text that a reader sees below a cell."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts += [output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/html", "text/markdown")]
    return "\n".join(texts)


def faults(notebook: Notebook) -> list[str]:
    """What a notebook does against the rules, one line each."""
    cells = code_cells(notebook)
    found = [] if notebook.cells and notebook.cells[0].cell_type == "markdown" else ["the first cell is not markdown"]
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    found += [] if len(tagged) == 1 else [f"{len(tagged)} cells are tagged parameters, not 1"]
    for number, cell in enumerate(cells):
        found += [f"code cell {number}: {fault}" for fault in cell_faults(cell)]
    lines = [num_lines(c.source) for c in cells]
    if not lines or statistics.median(lines) > MEDIAN_LINES:
        found.append(f"cells of {lines} lines: the median must be at most {MEDIAN_LINES}")
    return found


def cell_faults(cell: Notebook) -> list[str]:
    """What one code cell does against the rules."""
    checks = {
        "not executed": cell.execution_count is None,
        "shows an error": any(o.output_type == "error" for o in cell.outputs),
        f"over {MAX_LINES} lines": num_lines(cell.source) > MAX_LINES,
        "defines a class": defines_class(cell.source),
        "uses a shell": uses_shell(cell.source),
        "names an absolute path": bool(MACHINE_PATH.search(cell.source)),
        "prints an absolute path": bool(MACHINE_PATH.search(readable_outputs(cell))),
    }
    return [fault for fault, holds in checks.items() if holds]


# ---------------------------------------------------------------- the committed notebooks


def test_the_notebooks_are_the_declared_ones() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_follows_the_rules(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    assert path.is_file(), f"{path.name} is missing"
    assert path.stat().st_size <= MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert faults(notebook) == []


# ---------------------------------------------------------------- the rules themselves


def small_notebook(source: str = "x = 1", count: int | None = 1, outputs: list | None = None) -> Notebook:
    new = nbformat.v4
    parameters = new.new_code_cell("preset = 'tiny'", execution_count=1, metadata={"tags": ["parameters"]})
    tested = new.new_code_cell(source, execution_count=count, outputs=outputs or [])
    return new.new_notebook(cells=[new.new_markdown_cell("# Why?"), parameters, tested])


@pytest.mark.parametrize(
    "source",
    ["x = 1", "%matplotlib inline\nx = 3 / 4", "await task", "grammar('a / b')", "path = Path('../data/results')"],
)
def test_good_cells_pass(source: str) -> None:
    assert faults(small_notebook(source)) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("!ls", "uses a shell"),
        ("files = !ls", "uses a shell"),
        ("%%bash\nls", "uses a shell"),
        ("%pip install x", "uses a shell"),
        ("import subprocess\nsubprocess.run(['ls'])", "uses a shell"),
        ("class A:\n    pass", "defines a class"),
        ("x = 1\n" * 16, "over 15 lines"),
        ("p = '/home/me/data'", "names an absolute path"),
        ("p = 'C:\\\\data'", "names an absolute path"),
    ],
)
def test_bad_cells_fail(source: str, fault: str) -> None:
    assert any(fault in found for found in faults(small_notebook(source)))


def test_bad_outputs_fail() -> None:
    error = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    printed = nbformat.v4.new_output("stream", text="saved /tmp/x/y")
    assert "code cell 1: not executed" in faults(small_notebook(count=None))
    assert "code cell 1: shows an error" in faults(small_notebook(outputs=[error]))
    assert "code cell 1: prints an absolute path" in faults(small_notebook(outputs=[printed]))


def test_bad_notebooks_fail() -> None:
    notebook = small_notebook()
    notebook.cells = notebook.cells[2:]
    assert len(faults(notebook)) == 2
    long_cells = small_notebook("x = 1\n" * 14)
    assert any("median" in fault for fault in faults(long_cells))
