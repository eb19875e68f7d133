"""The faults that synthlab promises to survive, and the table of them: `python tests/faults/table.py` writes README.md.

A test says which fault it injects by the marker ``fault``, and reports by the fixture ``fired`` how many it injected;
the table joins both, and needs a run on record (`make faults` makes both).
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
REPORT = HERE.parents[1] / "build" / "faults"

FAULTS = {
    # silently wrong science
    "semantic twins across train and test": "splits go by classes of functions, and training refuses what the audit "
    "finds: other texts, swapped operands, -0.0, NaN, rounding",
    "agreement on the grid alone": "such answers are named right on the grid, never correct; hidden inputs decide",
    "more than n samples in pass@k": "refused, since the estimator would say 1 for a task that was never solved",
    "an empty or tiny split": "refused with the counts of all parts",
    "another grammar, operator, grid, encoding or version": "the key changes, so nothing stale is ever loaded",
    "contradictory settings": "refused before any work, naming both",
    # arithmetic
    "overflow, division by zero, poles": "declared semantics: exact, refused or missing, never wrapped; all ways of "
    "evaluation agree",
    "NaN or infinity in grid, data or loss": "a grid with them is refused, missing outputs are masked and counted",
    "an axis without variance": "z-scores are 0 and the axis is marked",
    "another processor, NumPy or Python": "the same programs, ids, classes and combinatorial splits; see also "
    "tests/reproducibility",
    "fewer programs than neighbours": "the map is clamped or refused, with the reason",
    # interruption
    "kill -9 at any operation of the store": "what was committed stays, and the next run ends with the same bytes",
    "resuming twice": "the same batches and weights as without interruption, bit by bit",
    "Ctrl-C at any moment": "the process lives, what was finished is kept, and running again ends the same",
    "two processes on one run": "the second is refused naming process, host and time; a dead lock is taken over",
    "a widget's callback raises": "the error stands in the panel, and its buttons work again",
    # disk and memory
    "disk full": "the old file stays byte by byte; the error names path, needed and free; going on later works",
    "a folder that cannot be written": "refused at the start, and a failed save stops the run loudly",
    "enumeration beyond memory or disk": "counted exactly and refused before any work, with count, bytes and the mend",
    "out of memory while training": "state is kept, memory returns, and the smaller batch that is suggested works",
    "a file cut off while it is read": "its size is checked first: an error that names it, never a dead process",
    "millions of rows on display": "a bounded table with the total",
    # damage
    "truncated or empty file": "named with the mend, and only that is made again",
    "edited manifest, missing or extra file": "refused or ignored, and named by verify; no folder is searched for data",
    "tables of another schema": "refused by version, and never merged column by column",
    "one flipped bit": "verify finds it wherever it is",
    "a checkpoint of another grammar, corpus or run": "refused before the first step, with both values",
    "compiled and plain checkpoints": "either loads into the other, strictly",
    "several devices inside a notebook": "refused before CUDA is touched, with the command that does it",
    # hostile input
    "code in program text": "read as a program or refused with the position; never evaluated",
    "malicious pickle": "refused; the canary is untouched",
    "deep, long or huge program text": "a syntax error with its position, soon; the process lives",
    "unknown operators, Unicode digits, homoglyphs": "a syntax error with position and what was expected",
    "HTML and script in names and texts": "shown as text in tables, panels, charts and exports",
    "code in data, open servers, known vulnerabilities": "nothing executes data, notebooks stay on this machine behind "
    "a token, pinned versions are checked",
}
HEAD = """# What synthlab survives

Every row is a fault that is injected for real, and what must then be true. Each test reports how many faults it
injected, and checks that they took effect. Written by `make faults` from the tests of this folder and one run of them.

"""


def marked(path: Path) -> Iterator[tuple[str, str]]:
    """Fault and name of every marked test of a file; the fault is a text, or a constant of the file."""
    module = ast.parse(path.read_text())
    constants = {}
    for node in (node for node in module.body if isinstance(node, ast.Assign)):
        (target,) = node.targets
        pairs = zip(*(x.elts if isinstance(x, ast.Tuple) else [x] for x in (target, node.value)), strict=False)
        constants |= {ast.unparse(name): value for name, value in pairs}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    yield ast.literal_eval(constants.get(ast.unparse(mark.args[0]), mark.args[0])), node.name


def by_fault() -> dict[str, list[tuple[str, str]]]:
    """For every fault the files and names of its tests."""
    found: dict[str, list[tuple[str, str]]] = {fault: [] for fault in FAULTS}
    for path in sorted(HERE.glob("test_*.py")):
        for fault, name in marked(path):
            found[fault].append((path.name, name))
    return found


def reported() -> tuple[Counter[str], int]:
    """Faults injected in the last run by test, and fuzzed inputs; what README says where there was none."""
    counts: Counter[str] = Counter()
    inputs = 0
    for path in sorted(REPORT.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            found = json.loads(line)
            counts[found["test"]] += found["faults"]
            inputs += found["inputs"]
    return counts, inputs


def document(counts: Counter[str], inputs: int) -> str:
    """The table as Markdown."""
    lines = ["| fault | promise | tests | injected |", "|---|---|---|---:|"]
    for fault, tests in by_fault().items():
        names = "<br>".join(f"[{name}]({file})" for file, name in tests)
        number = sum(counts[f"{file}::{name}"] for file, name in tests)
        lines.append(f"| {fault} | {FAULTS[fault]} | {names} | {number:,} |")
    total = sum(counts.values())
    lines.append(f"\n{total:,} faults injected and survived; {inputs:,} fuzzed inputs tried.\n")
    return HEAD + "\n".join(lines)


def record(test: str, faults: int, inputs: int) -> None:
    """Note what a test injected, one file per process."""
    REPORT.mkdir(parents=True, exist_ok=True)
    with (REPORT / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps({"test": test, "faults": faults, "inputs": inputs}) + "\n")


if __name__ == "__main__":
    found, tried = reported()
    if not found:
        sys.exit("no run of tests/faults is on record: make faults")
    README.write_text(document(found, tried))
