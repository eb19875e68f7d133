"""Universes and spaces that many tests read and none changes."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `naive`

from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus


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
