"""Universes made by a Dask cluster: worker processes that know nothing of the notebook's grammar."""

import multiprocessing

import numpy as np
import pytest
from distributed import Client, LocalCluster

from synthlab.errors import ArtifactError
from synthlab.language.grammar import _REGISTRY, Grammar
from synthlab.language.operator import Operator
from synthlab.store import Store
from synthlab.universe.corpus import build_corpus, function_table
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk, enumerate_texts


def blends(share=0.25):
    """Exact identity; an operator of two and one of three operands."""
    blend = Operator(symbol="blend", arity=2, meaning=lambda a, b: share * a + (1 - share) * b, integral=False)
    fused = Operator(symbol="fused", arity=3, meaning=lambda a, b, c: a * b - c)
    return Grammar(name="blends", variables=("x", "y"), constants=(1,), operators=(blend, fused))


def clips(limit=3):
    """Identity on probes; a unary operator."""
    clip = Operator(symbol="clip", arity=1, meaning=lambda a: np.clip(a, -limit, limit), field=None)
    plus = Operator(symbol="+", arity=2, meaning=lambda a, b: a + b, commutative=True)
    return Grammar(name="clips", variables=("x", "y"), constants=(1,), operators=(plus, clip))


@pytest.fixture(scope="module")
def cluster_store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("cluster") / "store")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two worker processes on this machine, which end with the module."""
    before = set(multiprocessing.active_children())
    settings = {"n_workers": 2, "processes": True, "threads_per_worker": 1, "dashboard_address": None}
    folder = str(tmp_path_factory.mktemp("dask"))
    with LocalCluster(host="127.0.0.1", local_directory=folder, **settings) as cluster, Client(cluster) as client:
        yield client
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 2
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)


@pytest.fixture
def executor(client):
    with client.get_executor(pure=False) as executor:
        yield executor


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


CASES = [(blends(), 5, "leaves"), (clips(), 6, "nodes")]


def make_both(case, store, **settings):
    grammar, size, measure = case
    texts = enumerate_texts(grammar, size, measure=measure, store=store, rows_per_shard=200, **settings)
    functions = enumerate_functions_on_disk(grammar, size, measure=measure, store=store, partitions=4, **settings)
    return texts, functions


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].name)
def test_a_cluster_gives_the_same_bytes_as_threads(store, cluster_store, executor, case):
    grammar, size, measure = case
    assert grammar.name not in _REGISTRY
    texts, functions = make_both(case, cluster_store, executor=executor, num_workers=2)
    for made, there in zip((texts, functions), make_both(case, store, num_workers=2), strict=True):
        assert made.key == there.key and tree(made.folder) == tree(there.folder)
    assert cluster_store.verify() == []
    corpus, table = build_corpus(grammar, size, measure=measure), function_table(grammar, size, measure=measure)
    prefix, class_index = (np.concatenate(parts) for parts in zip(*texts.texts(), strict=True))
    assert np.array_equal(prefix, corpus.prefix) and np.array_equal(class_index, corpus.class_index)
    assert np.array_equal(functions.functions().keys, table.keys)
    assert np.array_equal(functions.functions().text(), table.text())


def test_the_pieces_are_made_in_other_processes(client, executor):
    import os

    found = {executor.submit(os.getpid).result(timeout=60) for _ in range(8)}
    assert os.getpid() not in found and found == set(client.run(os.getpid).values())


def test_workers_whose_disk_is_full_say_so_and_go_on(client, executor, store):
    """An error of a worker arrives whole, and a repaired worker finishes what is left."""

    def fill(dask_worker):
        import shutil

        dask_worker.true_usage = shutil.disk_usage
        shutil.disk_usage = lambda path: dask_worker.true_usage(path)._replace(free=10)

    def make_room(dask_worker):
        import shutil

        shutil.disk_usage = dask_worker.true_usage

    client.run(fill)
    try:
        with pytest.raises(ArtifactError, match=r"needs .* MB, .* MB are free: make room, run again"):
            make_both(CASES[0], store, executor=executor)
    finally:
        client.run(make_room)
    (folder,) = (store.root / "universe").glob("*")
    # the classes were made here; a cluster may still carry out what it had begun, once there is room
    assert (folder / "classes" / "manifest.json").exists() and not (folder / "manifest.json").exists()
    texts, _ = make_both(CASES[0], store, executor=executor)
    assert texts.folder == folder and isinstance(texts, ShardedUniverse) and store.verify() == []
