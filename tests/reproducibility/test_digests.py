"""Exact anywhere: committed digests, here, with fewer instructions, and on another Python with the oldest versions.

Bitwise on one machine is the business of tests/learning and tests/faults (training and resuming); floats and what is
drawn from them are compared within bounds here; coordinates of UMAP are promised nowhere.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from synthlab.doctor import DIGEST

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GOLDEN = json.loads((HERE / "golden.json").read_text())
FEATURES = ("X86_V3", "X86_V4", "AVX2", "FMA3", "AVX512F", "AVX512CD", "AVX512_SKX", "AVX512_ICL", "ASIMDHP", "SVE")
PLAIN = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": " ".join(FEATURES), "NUMBA_NUM_THREADS": "1"}
OTHERS = ("3.12", "3.13", "3.11")
OLDEST = HERE / "oldest.txt"


def computed(folder, python=sys.executable, **environment):
    """Digests and floats of a child process."""
    call = [python, "-W", "ignore", str(HERE / "digests.py"), str(folder / "found")]
    answer = subprocess.run(
        call, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads((folder / "found.json").read_text()), np.load(folder / "found.npz")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What this Python computes."""
    return computed(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What it computes without the wide instructions of this processor."""
    return computed(tmp_path_factory.mktemp("plain"), **PLAIN)


@functools.cache
def other_python():
    """A Python of another minor version with the oldest packages that are accepted; or why there is none."""
    found = [p for version in OTHERS if (p := installed(version)) and version != "{}.{}".format(*sys.version_info)]
    if not found:
        return None, "no other Python is installed"
    version, python = found[0]
    ready = ROOT / "build" / f"oldest-{version}"
    if not (ready / "ready").exists():
        shutil.rmtree(ready, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(ready)], check=True)
        pip = [str(ready / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
        answer = subprocess.run([*pip, "-r", str(OLDEST)], capture_output=True, text=True)
        if answer.returncode:
            return None, f"the oldest versions cannot be installed on Python {version}: {answer.stderr[-300:]}"
        (ready / "ready").touch()
    return str(ready / "bin" / "python"), ""


def installed(version):
    """Version and path of a Python that works, from the path or from pyenv."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for path in [*filter(None, [shutil.which(f"python{version}")]), *map(str, pyenv)]:
        with tempfile.TemporaryDirectory() as folder:
            answer = subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, cwd=folder)
        if answer.returncode == 0:
            return version, path
    return None


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What another Python computes, with the oldest accepted NumPy, numba, pandas, SciPy, scikit-learn and PyArrow."""
    python, why_not = other_python()
    if python is None:
        pytest.skip(why_not)
    return computed(tmp_path_factory.mktemp("elsewhere"), python)


def test_exact_results_are_the_committed_ones(here):
    assert here[0] == GOLDEN
    assert GOLDEN["universe of the doctor"].startswith(DIGEST)


def test_exact_results_do_not_depend_on_the_instructions_of_the_processor(plain):
    assert plain[0] == GOLDEN


def test_exact_results_do_not_depend_on_the_versions_of_python_and_packages(elsewhere):
    assert elsewhere[0] == GOLDEN


def test_the_other_python_really_has_other_versions(elsewhere):
    python, _ = other_python()
    about = "import sys, numpy, numba; print(sys.version_info[:2], numpy.__version__, numba.__version__)"
    there, here_ = (subprocess.check_output([p, "-c", about], text=True) for p in (python, sys.executable))
    assert all(one != other for one, other in zip(there.rsplit(maxsplit=2), here_.rsplit(maxsplit=2), strict=True))


def overlap(first, second):
    """Share of two sets that is in both."""
    return len(np.intersect1d(first, second)) / len(np.union1d(first, second))


@pytest.mark.parametrize(("where", "quantile", "cluster"), [("plain", 0.99, 0.95), ("elsewhere", 0.99, 0.7)])
def test_floats_agree_within_rounding_and_splits_drawn_from_them_overlap(here, request, where, quantile, cluster):
    """A quantile moves a program at its edge; k-means can end elsewhere: so a split keeps the ids of its programs."""
    _, floats = here
    _, others = request.getfixturevalue(where)
    assert set(floats.files) == set(others.files)
    for name in floats.files:
        if name.startswith("split"):
            assert overlap(floats[name], others[name]) >= (quantile if "quantile" in name else cluster), name
        else:
            scale = np.abs(floats[name]).max()
            assert np.abs(floats[name] - others[name]).max() <= 1e-5 * scale, name


def test_the_digests_notice_a_change(tmp_path):
    """The committed file is compared with what is computed, and what is computed depends on its input."""
    from reproducibility import digests

    from synthlab.language.grammar import POLYNOMIAL
    from synthlab.universe.corpus import build_corpus

    corpus = build_corpus(POLYNOMIAL, 2)
    before = digests.corpus_digest(corpus)
    corpus.fingerprints[3, 1] ^= 1
    assert digests.corpus_digest(corpus) != before
    array = np.arange(6)
    changed = [array[::-1], array.reshape(2, 3), array.astype(np.int32)]
    assert len({digests.sha256(a) for a in [array, *changed]}) == 4
    assert digests.sha256(array) == digests.sha256(array.astype(">i8"))
