"""The doctor finds what is broken, by breaking it, and names a mend."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from joblib import cpu_count

from synthlab import doctor
from synthlab.__main__ import main
from synthlab.doctor import NOTE, OK, PROBLEM, examine, report
from synthlab.store import Store
from synthlab.study.execution import WORKERS, _num_workers
from synthlab.universe.corpus import build_corpus

VERSION = metadata.version
CHECKS = ("python", "packages", "gpu", "threads", "memory", "store", "notebooks", "browser", "fonts", "arithmetic")


@pytest.fixture
def found(store):
    """Make one check, and return its first finding."""
    return lambda check, place=store: examine(place, only=[check])[0]


def test_this_installation_is_whole(store):
    findings = examine(store)
    assert [one.check for one in findings if one.check != "tested versions"] == list(CHECKS)
    assert [one for one in findings if one.state == PROBLEM] == []
    assert not list(store.root.glob(".doctor*"))
    lines = report(findings)
    assert all(one.found in lines and one.mend in lines for one in findings)


def test_the_command_tells_by_its_exit_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "passed: True" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "file"))  # no folder can be made below a file
    assert main(["doctor", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    (wrong,) = (one for one in answer["findings"] if one["state"] == PROBLEM)
    assert wrong["check"] == "store" and "SYNTHLAB_STORE" in wrong["mend"] and not answer["passed"]


def versions(monkeypatch, **others):
    """Let packages be of other versions, or missing (None)."""

    def version(name):
        if name in others and others[name] is None:
            raise metadata.PackageNotFoundError(name)
        return others.get(name) or VERSION(name)

    monkeypatch.setattr(metadata, "version", version)


def test_packages_out_of_range_missing_or_untested_are_told_apart(monkeypatch, found):
    versions(monkeypatch, numba="0.2", altair=None)
    wrong = found("packages")
    assert wrong.state == PROBLEM and "numba 0.2 is out of range" in wrong.found and "altair is missing" in wrong.found
    versions(monkeypatch, altair=None, **{"umap-learn": None})
    assert found("packages").state == NOTE  # a machine that only trains
    versions(monkeypatch, numba="99.0")
    fits, other = examine(Store(), only=["packages"])
    assert fits.state == OK and other.state == NOTE and "numba 99.0 (tested: " in other.found


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
from synthlab.doctor import examine
from synthlab.store import Store
print(*(f"{{one.check}} {{one.state}} {{one.found}}" for one in examine(Store(sys.argv[1]))), sep="\\n")
"""


def test_a_machine_without_figures_or_without_torch_is_examined_all_the_same(tmp_path):
    def lines(*names):
        call = [sys.executable, "-c", WITHOUT.format(names=set(names)), str(tmp_path)]
        answer = subprocess.run(call, capture_output=True, text=True, check=True)
        return dict(line.split(" ", 1) for line in answer.stdout.splitlines())

    bare = lines("altair", "vl_convert", "jupyter_core", "jupyterlab")
    assert bare["fonts"].startswith("note vl_convert is not installed") and bare["notebooks"].startswith("note ")
    assert bare["gpu"].split()[0] in (OK, NOTE) and bare["arithmetic"].startswith("ok ")
    assert lines("torch")["gpu"] == "problem torch is not installed"


def test_a_driver_that_pytorch_cannot_use_is_a_problem(monkeypatch, found, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert found("gpu").state == PROBLEM and "CUDA build" in found("gpu").mend


def test_more_threads_than_cores_are_a_problem(monkeypatch, found):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(cpu_count() + 1)
        assert found("threads").state == PROBLEM and f"OMP_NUM_THREADS={cpu_count()}" in found("threads").mend
        torch.set_num_threads(1)
        monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
        assert found("threads").state == OK
        monkeypatch.delenv("OMP_WAIT_POLICY")
        assert found("threads").state == NOTE
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system knows no affinity")
def test_cores_are_those_this_process_may_use(monkeypatch, found):
    monkeypatch.delenv(WORKERS, raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert found("threads").found.startswith("1 cores")
        assert torch.cuda.is_available() or _num_workers(None) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_little_memory_and_little_disk_are_noted(monkeypatch, found, small_disk):
    from synthlab.universe import planning

    monkeypatch.setattr(planning, "free_memory", lambda: 1e9)
    assert found("memory").state == NOTE
    little = found("store", Store(small_disk.root / "store"))
    if small_disk.real:
        assert little.state == NOTE and "make room" in little.mend


def test_a_store_on_a_disk_that_cannot_be_written_is_a_problem(small_disk, found):
    if not small_disk.read_only():
        pytest.skip("no right to mount a read-only disk")
    wrong = found("store", Store(small_disk.root))
    assert wrong.state == PROBLEM and "Read-only" in wrong.found


def test_a_lab_that_does_not_see_the_widgets_is_a_problem(monkeypatch, found, tmp_path):
    import jupyter_core.paths

    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda *_: [str(tmp_path)])
    assert found("notebooks").state == PROBLEM and "jupyterlab_widgets" in found("notebooks").mend


def test_figures_without_text_are_a_problem(monkeypatch, found):
    import vl_convert

    monkeypatch.setattr(vl_convert, "svg_to_png", lambda svg: b"a blank picture")
    assert found("fonts").state == PROBLEM and "install a font" in found("fonts").mend


def test_no_browser_is_noted(monkeypatch, found, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("browser").state == NOTE and "chromium" in found("browser").mend


def test_other_numbers_than_everywhere_are_a_problem(monkeypatch, found):
    from synthlab.universe import corpus

    def miscounting(grammar, size):
        right = build_corpus(grammar, size)
        right.class_index[-1] -= 1
        return right

    monkeypatch.setattr(corpus, "build_corpus", miscounting)
    assert found("arithmetic").state == PROBLEM and "trust no number" in found("arithmetic").mend


def test_a_check_that_fails_is_a_finding(monkeypatch, found):
    def broken():
        raise RuntimeError("the GPU\nis on fire")

    monkeypatch.setattr(doctor, "_gpu", broken)
    assert found("gpu").state == PROBLEM and found("gpu").found == "RuntimeError: the GPU is on fire"
