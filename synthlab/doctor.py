"""Is this installation whole? Every check says what it found, and what mends it.

The checks load what they ask about inside the function that asks, so that a package that is missing or broken is
a finding and not a crash. The last one computes: a small universe must have the digest it has on every machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthlab.store import Store
    from synthlab.universe.corpus import Corpus

OK, NOTE, PROBLEM = "ok", "note", "problem"
DIGEST = "e086f9aa2b88d229"
"""First digits of the SHA-256 of the polynomials of three leaves: tokens, classes and fingerprints."""
_REINSTALL = "python -m pip install -c constraints.txt -e '.[dev]'"
_LITTLE_DISK, _LITTLE_MEMORY = 2e9, 4e9
_SHOWING = {
    "altair", "anywidget", "apted", "ipywidgets", "jupyterlab", "nbclient", "nbconvert", "pillow", "umap-learn",
    "vl-convert-python",
}  # fmt: skip
"""Packages of maps, figures and notebooks: a machine that only trains does without them."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "firefox")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check
        What was looked at.
    state
        ``ok``; ``note`` where something works less well, or is optional; ``problem`` where something will fail.
    found
        What is there.
    mend
        What to do about it; empty where nothing is to be done.
    """

    check: str
    state: str
    found: str
    mend: str = ""


def examine(store: Store, *, only: Collection[str] = ()) -> list[Finding]:
    """Look at versions, GPU, threads, memory, disk, store, notebooks, browser, fonts and arithmetic.

    Parameters
    ----------
    store
        Where artifacts would be written.
    only
        Names of checks; all by default.

    Returns
    -------
    list of Finding
        In the order of the checks; a check that fails itself is a problem of that name.
    """
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": _python, "packages": _packages, "gpu": _gpu, "threads": _threads, "memory": _memory,
        "store": lambda: _store(store), "notebooks": _notebooks, "browser": _browser, "fonts": _fonts,
        "arithmetic": _arithmetic,
    }  # fmt: skip
    found: list[Finding] = []
    for name, check in checks.items():
        if only and name not in only:
            continue
        try:
            found += check()
        except ModuleNotFoundError as error:
            found.append(_without(name, str(error.name)))
        except Exception as error:  # a broken package can raise anything, and is what is looked for
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            found.append(Finding(check=name, state=PROBLEM, found=text, mend=_REINSTALL))
    return found


def report(findings: list[Finding]) -> str:
    """The findings as lines, each mend below what it mends."""
    lines = []
    for one in findings:
        lines.append(f"{one.state:8} {one.check:16} {one.found}")
        lines += [f"{'':25} -> {one.mend}"] if one.mend else []
    return "\n".join(lines)


# ---------------------------------------------------------------- software


def _without(check: str, package: str) -> Finding:
    """A check that a package is missing for: no problem on a machine that only trains."""
    seen = check in ("notebooks", "fonts")
    text = f"{package} is not installed" + (": no figures and notebooks here" if seen else "")
    return Finding(check=check, state=NOTE if seen else PROBLEM, found=text, mend=_REINSTALL)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    mend = "install Python 3.11 or newer" if old else ""
    yield Finding(check="python", state=PROBLEM if old else OK, found=f"{version} in {sys.prefix}", mend=mend)


def _packages() -> Iterator[Finding]:
    """Required packages against their ranges, and against the versions that were tested."""
    missing, wrong, others, num = [], [], [], 0
    tested = _tested_versions()
    for name, accepts in _requirements():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        num += 1
        if not accepts(version):
            wrong.append(f"{name} {version}")
        elif tested.get(_canonical(name), version) != version.split("+")[0]:
            others.append(f"{name} {version} (tested: {tested[_canonical(name)]})")
    if missing or wrong:
        text = "; ".join([*(f"{n} is missing" for n in missing), *(f"{w} is out of range" for w in wrong)])
        state = NOTE if not wrong and _SHOWING.issuperset(missing) else PROBLEM
        yield Finding(check="packages", state=state, found=text, mend=_REINSTALL)
    else:
        yield Finding(check="packages", state=OK, found=f"{num} of {num} in their ranges")
    if others:
        yield Finding(check="tested versions", state=NOTE, found="; ".join(others), mend=f"if in doubt: {_REINSTALL}")


def _requirements() -> Iterator[tuple[str, Callable[[str], bool]]]:
    """Names of the packages that synthlab needs here, and whether a version is accepted."""
    from packaging.requirements import Requirement

    from synthlab.store import project_root

    project = project_root() / "pyproject.toml"  # of a checkout that may not be installed at all
    declared = tomllib.loads(project.read_text())["project"]["dependencies"] if project.exists() else None
    for text in metadata.requires("synthlab") or () if declared is None else declared:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name, partial(requirement.specifier.contains, prereleases=True)


def _tested_versions() -> dict[str, str]:
    """Pinned versions of the checkout by canonical name; empty elsewhere."""
    from synthlab.store import project_root

    path = project_root() / "constraints.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return {_canonical(name): version for name, _, version in (line.partition("==") for line in lines) if version}


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


# ---------------------------------------------------------------- machine


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            half = "bf16" if about.major >= 8 else "no bf16: trains in 32 bit"
            text = f"{about.name}, {about.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}, {half}"
            yield Finding(check="gpu", state=OK, found=text)
    elif shutil.which("nvidia-smi"):
        yield Finding(
            check="gpu", state=PROBLEM,
            found=f"there is an NVIDIA driver, and PyTorch {torch.__version__} finds no device",
            mend="run nvidia-smi; if it works, install the CUDA build of PyTorch for that driver",
        )  # fmt: skip
    else:
        yield Finding(
            check="gpu", state=NOTE, found=f"none for PyTorch {torch.__version__}",
            mend="none needed for tiny and quick; the preset paper then shows the results of quick",
        )  # fmt: skip


def _threads() -> Iterator[Finding]:
    import torch
    from joblib import cpu_count  # those that affinity and the container's quota leave

    cores, threads = cpu_count(), torch.get_num_threads()
    text = f"{cores} cores, {threads} threads of PyTorch"
    if threads > cores:
        yield Finding(
            check="threads", state=PROBLEM, found=f"{text}: they wait for each other",
            mend=f"export OMP_NUM_THREADS={cores}",
        )  # fmt: skip
    elif os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive":
        yield Finding(
            check="threads", state=NOTE, found=f"{text}, which spin while they wait",
            mend="where other programs run too: export OMP_WAIT_POLICY=passive",
        )  # fmt: skip
    else:
        yield Finding(check="threads", state=OK, found=text)


def _memory() -> Iterator[Finding]:
    from synthlab.universe.planning import free_memory

    free = free_memory()
    little = free < _LITTLE_MEMORY
    mend = "end other programs, or take the preset tiny; `synthlab enumerate --plan` says what a universe needs"
    yield Finding(
        check="memory", state=NOTE if little else OK, found=f"{free / 1e9:.1f} GB free", mend=mend if little else ""
    )


def _store(store: Store) -> Iterator[Finding]:
    """Whether the store can be written, has room, and lives where a lock can be taken."""
    from synthlab.durable import exclusive, require_writable
    from synthlab.errors import SynthlabError
    from synthlab.universe.planning import free_disk

    elsewhere = "set SYNTHLAB_STORE to a folder of a local disk that you may write"
    probe = store.root / f".doctor-{os.getpid()}"
    try:
        require_writable(probe, 1)
        with exclusive(probe):
            pass
    except (SynthlabError, OSError) as error:
        yield Finding(check="store", state=PROBLEM, found=f"{store.root}: {error}", mend=elsewhere)
        return
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    free = free_disk(store.root)
    little = free < _LITTLE_DISK
    mend = f"make room, or {elsewhere}" if little else ""
    yield Finding(
        check="store", state=NOTE if little else OK, found=f"{store.root} can be written, {free / 1e9:.1f} GB free",
        mend=mend,
    )  # fmt: skip


# ---------------------------------------------------------------- what notebooks need


def _notebooks() -> Iterator[Finding]:
    """Whether JupyterLab and the browser's half of ipywidgets fit together."""
    from jupyter_core.paths import jupyter_path

    folders = [Path(p) / "@jupyter-widgets" / "jupyterlab-manager" for p in jupyter_path("labextensions")]
    widgets, lab = metadata.version("ipywidgets"), metadata.version("jupyterlab")
    text = f"JupyterLab {lab}, ipywidgets {widgets}"
    if not any(folder.is_dir() for folder in folders):
        yield Finding(
            check="notebooks", state=PROBLEM, found=f"{text}, and JupyterLab does not see the widgets",
            mend="python -m pip install --force-reinstall jupyterlab_widgets, in the environment of JupyterLab",
        )  # fmt: skip
    else:
        yield Finding(check="notebooks", state=OK, found=text)


def _browser() -> Iterator[Finding]:
    """A browser of this machine: for its tests, and for notebooks that are not opened from elsewhere."""
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        yield Finding(
            check="browser", state=NOTE, found="none on the path",
            mend="notebooks can be opened from another machine; for the browser tests install chromium",
        )  # fmt: skip
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
        path = answer.stdout.strip() or path
    yield Finding(check="browser", state=OK, found=path)


def _fonts() -> Iterator[Finding]:
    """Whether text appears in figures that are drawn without a browser: the same picture must not stay empty."""
    import vl_convert

    from synthlab.views.theme import FONT

    def drawn(text: str) -> bytes:
        sheet = '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="30">'
        return bytes(vl_convert.svg_to_png(f'{sheet}<text x="2" y="20" font-family="{FONT}">{text}</text></svg>'))

    if drawn("synthlab") == drawn(""):
        yield Finding(
            check="fonts", state=PROBLEM, found=f"none of {FONT}: figures have no text",
            mend="install a font, for example fonts-dejavu or fonts-liberation",
        )  # fmt: skip
    else:
        yield Finding(check="fonts", state=OK, found="figures are drawn with text")


# ---------------------------------------------------------------- the same numbers as everywhere


def corpus_digest(corpus: Corpus) -> str:
    """SHA-256 of a universe: tokens, classes, ids and fingerprints, in the byte order of most machines."""
    digest = hashlib.sha256()
    for name, array in sorted(corpus.payload().items()):
        digest.update(f"{name} {array.dtype.newbyteorder('<').str} {array.shape}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _arithmetic() -> Iterator[Finding]:
    """Whether enumeration and identity give here what they give everywhere."""
    from synthlab.language.grammar import POLYNOMIAL
    from synthlab.universe.corpus import build_corpus

    digest = corpus_digest(build_corpus(POLYNOMIAL, 3))
    if digest.startswith(DIGEST):
        yield Finding(
            check="arithmetic", state=OK, found="programs, functions and fingerprints are those of every machine"
        )
    else:
        yield Finding(
            check="arithmetic", state=PROBLEM, found=f"three leaves have the digest {digest[:8]} and not {DIGEST}",
            mend=f"trust no number of this installation: {_REINSTALL}; then run the tests in tests/language",
        )  # fmt: skip
