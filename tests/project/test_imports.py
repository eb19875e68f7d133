"""The import boundary: light to import, heavy libraries in one stage each, and stages in one direction."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "synthlab"
STAGES = ("language", "universe", "spaces", "splits", "assessment", "learning", "search", "study", "views")
BESIDE = {
    "presets", "arenas", "ranges", "store", "verification", "exchange", "durable", "errors", "options", "deadline",
    "compiling", "interrupts",
}  # fmt: skip
LIGHT = {"__init__", "__main__", "one_program", "study_commands", "doctor"}  # load no stage before they are asked to
SLOW = {"learning", "views"}  # stages that load torch or Altair
HEAVY = ["torch", "pytorch_lightning", "altair", "ipywidgets", "umap", "sklearn", "pandas", "numba"]

IMPORT_ALL = """
import importlib, json, sys

blocked, modules = json.loads(sys.argv[1])

class Without:  # a finder to which some packages are not installed, for imports and for find_spec alike
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in blocked else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
failed = {}
for module in modules:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed[module] = repr(error)
print(json.dumps([failed, [name for name in blocked if name in sys.modules]]))
"""


def module_names(without: str | None = None) -> list[str]:
    """Dotted names of all modules, without those of one stage."""
    files = (p for p in sorted(PACKAGE.rglob("*.py")) if p.relative_to(PACKAGE).parts[0] != without)
    return [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files]


def import_blocked(blocked: list[str], modules: list[str]) -> tuple[dict[str, str], list[str]]:
    """Errors by module, and blocked packages that were loaded nevertheless, from a fresh interpreter."""
    arguments = [sys.executable, "-c", IMPORT_ALL, json.dumps([blocked, modules])]
    answer = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=True)
    failed, loaded = json.loads(answer.stdout.splitlines()[-1])
    return failed, loaded


# ---------------------------------------------------------------- what an import loads


def test_importing_synthlab_loads_nothing_heavy() -> None:
    code = f"import synthlab, sys; print(sorted(sys.modules.keys() & set({HEAVY!r})))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"


def test_everything_but_learning_imports_without_torch() -> None:
    modules = module_names(without="learning")
    assert {f"synthlab.{stage}" for stage in STAGES} - set(modules) == {"synthlab.learning"}
    assert import_blocked(["torch", "pytorch_lightning", "lightning"], modules) == ({}, [])


def test_everything_but_views_imports_without_charts_and_widgets() -> None:
    modules = module_names(without="views")
    assert {f"synthlab.{stage}" for stage in STAGES} - set(modules) == {"synthlab.views"}
    assert import_blocked(["altair", "ipywidgets", "anywidget", "umap", "vl_convert"], modules) == ({}, [])


def test_the_block_works() -> None:
    failed, loaded = import_blocked(["torch", "altair"], ["torch", "torch.nn", "altair", "json"])
    assert (sorted(failed), loaded) == (["altair", "torch", "torch.nn"], [])


def test_learning_is_where_torch_lives() -> None:
    """Otherwise the boundary above would guard nothing."""
    failed, _ = import_blocked(["torch", "pytorch_lightning"], [m for m in module_names() if ".learning." in m])
    assert failed


# ---------------------------------------------------------------- who may import whom


@dataclass(frozen=True)
class Import:
    """One import of a part of synthlab: which, where, whether it runs when the module is loaded, or never."""

    part: str
    line: int
    eager: bool
    for_types: bool = False


def imports(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """Imports of synthlab anywhere in a file, including ``importlib.import_module("synthlab...")``."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node, eager, for_types in _walk(ast.parse(source), True, False):
        for name in _imported(node, package):
            parts = name.split(".")
            if parts[0] == "synthlab" and len(parts) > 1:
                yield Import(parts[1], node.lineno, eager, for_types)


def _walk(node: ast.AST, eager: bool, for_types: bool) -> Iterator[tuple[ast.AST, bool, bool]]:
    yield node, eager, for_types
    lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body
        yield from _walk(child, eager and not lazy and not typing_only, for_types or typing_only)


def _imported(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{base}.{alias.name}" for alias in node.names] if base == "synthlab" else [base]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
        return [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return []


def violation(importer: str, found: Import) -> str | None:
    """What is wrong with a part of synthlab importing another, or None."""
    where = f"{importer} line {found.line} imports {found.part}"
    if found.part in {importer, *BESIDE}:
        return None
    if importer in BESIDE:
        return f"{where}: {importer} must not know the stages"
    if importer not in STAGES:  # a module above the stages, which may know them all
        early = importer in LIGHT and found.part not in LIGHT
        too_early = found.eager and (early or found.part in SLOW)
        return f"{where} when it is loaded" if too_early else None
    if found.part not in STAGES:
        return f"{where}, which stands above the stages"
    if STAGES.index(found.part) > STAGES.index(importer):
        return f"{where}, which stands below it"
    if found.part == "learning" and not found.for_types and (importer != "study" or found.eager):
        return f"{where}: only a function of study may"
    return None


def violations(path: Path) -> list[str]:
    relative = path.relative_to(PACKAGE)
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    importer = relative.parts[0].removesuffix(".py")
    found = imports(path.read_text(), module, path.name == "__init__.py")
    return [f"{relative}: {v}" for i in found if (v := violation(importer, i))]


def test_stages_import_only_what_stands_above_them() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert {p.parent.name for p in files} >= set(STAGES)
    assert [v for path in files for v in violations(path)] == []


def test_every_folder_is_a_stage() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(STAGES)


@pytest.mark.parametrize(
    ("importer", "source", "wrong"),
    [
        ("language", "from synthlab.universe.corpus import Corpus", True),
        ("language", "def f():\n    import synthlab.views.charts", True),
        ("universe", "from synthlab.language import grammar", False),
        ("universe", "from synthlab import store, errors", False),
        ("universe", "from synthlab import splits", True),
        ("universe", "from ..spaces import space", True),
        ("universe", "from .counting import rank", False),
        ("splits", "import importlib\nimportlib.import_module('synthlab.study.trials')", True),
        ("study", "from synthlab.learning.training import train", True),
        ("study", "def f():\n    from synthlab.learning.training import train", False),
        ("search", "def f():\n    from synthlab.learning.training import train", True),
        ("learning", "from synthlab.learning.model import Model", False),
        ("store", "def f():\n    from synthlab.universe.corpus import Corpus", True),
        ("__main__", "from synthlab.universe.corpus import Corpus", True),
        ("__main__", "def f():\n    from synthlab.views.charts import chart", False),
        ("__main__", "from synthlab.lab import Lab", True),
        ("lab", "from synthlab.universe.corpus import Corpus", False),
        ("lab", "from synthlab.learning.training import train", True),
        ("lab", "def f():\n    from synthlab.learning.training import train", False),
        ("lab", "if TYPE_CHECKING:\n    from synthlab.learning.training import Run", False),
        ("study", "from synthlab.lab import Lab", True),
        ("views", "if TYPE_CHECKING:\n    from synthlab.learning.training import Run", False),
        ("views", "def f():\n    from synthlab.learning.training import Run", True),
        ("views", "from synthlab.helpers import x", True),
    ],
)
def test_the_rule_tells_right_from_wrong(importer: str, source: str, wrong: bool) -> None:
    module = f"synthlab.{importer}.module" if importer in STAGES else f"synthlab.{importer}"
    found = list(imports(source, module, False))
    assert found
    assert any(violation(importer, i) for i in found) == wrong
