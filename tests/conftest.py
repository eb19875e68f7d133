"""Universes and spaces that many tests read and none changes."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `naive`, `brute`, `disks` and `languages`

os.environ.setdefault("SYNTHLAB_WORKERS", "1")  # tests start no processes that they do not ask for

from synthlab.arenas import TINY_CONTESTS
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.presets import ModelConfig, TrainingConfig, get_preset
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus

LONG = ("benchmarks", "browser", "reproducibility", "soak", "faults")
"""Folders of tests that take long: with two workers they begin first, in a random order as all others."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(scope="session")
def corpus3():
    return build_corpus(POLYNOMIAL, 3)


@pytest.fixture(scope="session")
def corpus4():
    return build_corpus(POLYNOMIAL, 4)


@pytest.fixture(scope="session")
def spaces4(corpus4):
    return {"syntactic": fit_syntactic(corpus4), "semantic": fit_semantic(corpus4)}


@pytest.fixture(scope="session")
def rational3():
    return build_corpus(RATIONAL, 3)


@pytest.fixture(scope="session")
def naive4():
    """Every text of at most four leaves as (prefix tokens, function number), by polynomial expansion."""
    import naive

    return naive.universe(naive.POLYNOMIAL_ARITIES, 4, naive.Polynomials())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Two megabytes."""
    from disks import SmallDisk

    disk = SmallDisk(tmp_path / "small", monkeypatch)
    yield disk
    disk.remove()


@pytest.fixture(scope="session")
def split3(corpus3):
    """Texts whose root is ``*`` are held out of the 3-leaf universe."""
    return support_split(corpus3, {}, support_settings(Region(rule="root", root="*"), reserved=0.25, num_test=60))


@pytest.fixture(scope="session")
def split4(corpus4):
    """Texts whose root is ``*`` are held out of the 4-leaf universe; least texts are learned."""
    settings = support_settings(
        Region(rule="root", root="*"), reserved=0.25, num_test=80, policy="minimal inside the support"
    )
    return support_split(corpus4, {}, settings)


@pytest.fixture(scope="session")
def trained4(corpus4, split4, tmp_path_factory):
    """A run of a second: right on nearly half of the smallest functions, wrong on most others."""
    from synthlab.learning.training import train

    training = TrainingConfig(num_steps=60, batch_size=128, learning_rate=1e-2, num_checks=2)
    store = Store(tmp_path_factory.mktemp("trained4"))
    return train(corpus4, split4, ModelConfig(width=16, layers=1), training, store=store, progress=False)


@pytest.fixture(scope="session")
def small_preset():
    """The preset `tiny` on the 3-leaf universe, with runs of ten steps."""
    short = TrainingConfig(num_steps=10, batch_size=32, num_checks=1)
    model = ModelConfig(width=8, layers=1, heads=2)
    return replace(
        get_preset("tiny"), random_sizes=(), max_size=3, map_points=50, num_test=30, num_cells=5, density_train=200,
        flagship_model=model, flagship=short, support_regime="random", support_train=None, model=model, short=short,
        scaling=short, contests=replace(TINY_CONTESTS, num_tasks=4),
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_lab(small_preset, tmp_path_factory):
    """A lab with a store of its own; what one test makes there another may find."""
    from synthlab.lab import Lab

    return Lab(small_preset, store=Store(tmp_path_factory.mktemp("small-lab")), progress=False)
