"""synthlab: find out how far a neural program synthesizer really generalizes.

`Lab` opens a preset; the folders below follow the data path. Names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthlab.lab import Lab
    from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid, get_grammar, register
    from synthlab.language.operator import Operator
    from synthlab.language.program import Program, parse
    from synthlab.presets import ModelConfig, Preset, TrainingConfig, get_preset
    from synthlab.splits.regions import Region
    from synthlab.store import Store
    from synthlab.study.redraw import redraw
    from synthlab.universe.corpus import Corpus, build_corpus, function_table
    from synthlab.universe.planning import Limits, plan_functions, plan_texts
    from synthlab.universe.sampling import PCFG, sample_programs
    from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts

__version__ = "0.1.0"

_HOME = {
    "Lab": "lab",
    "Store": "store",
    "ModelConfig": "presets",
    "Preset": "presets",
    "TrainingConfig": "presets",
    "get_preset": "presets",
    "Grammar": "language.grammar",
    "Grid": "language.grammar",
    "Operator": "language.operator",
    "PIECEWISE": "language.grammar",
    "POLYNOMIAL": "language.grammar",
    "RATIONAL": "language.grammar",
    "get_grammar": "language.grammar",
    "register": "language.grammar",
    "Program": "language.program",
    "parse": "language.program",
    "Corpus": "universe.corpus",
    "build_corpus": "universe.corpus",
    "function_table": "universe.corpus",
    "Limits": "universe.planning",
    "plan_functions": "universe.planning",
    "plan_texts": "universe.planning",
    "PCFG": "universe.sampling",
    "sample_programs": "universe.sampling",
    "ShardedUniverse": "universe.shards",
    "enumerate_functions_on_disk": "universe.shards",
    "enumerate_texts": "universe.shards",
    "Region": "splits.regions",
    "redraw": "study.redraw",
}

__all__ = [
    "PCFG", "PIECEWISE", "POLYNOMIAL", "RATIONAL", "Corpus", "Grammar", "Grid", "Lab", "Limits", "ModelConfig",
    "Operator", "Preset", "Program", "Region", "ShardedUniverse", "Store", "TrainingConfig", "build_corpus",
    "enumerate_functions_on_disk", "enumerate_texts", "function_table", "get_grammar", "get_preset", "parse",
    "plan_functions", "plan_texts", "redraw", "register", "sample_programs",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'synthlab' has no attribute {name!r}")
    return getattr(importlib.import_module(f"synthlab.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
