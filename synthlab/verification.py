"""What is wrong in a store and what mends it: every byte is hashed again, and every problem names who makes it anew."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from synthlab.durable import is_staged, leftovers
from synthlab.errors import ArtifactError
from synthlab.presets import RUN_SCHEMA
from synthlab.store import MANIFEST, Store, content_key, read_manifest, read_shard_manifest

CHECKPOINTS, FAILURES, NAMES, PROGRESS = "checkpoints", "failures", "names", "progress"
CHECKPOINT_FORMAT = b"synthlab checkpoint 1"
"""First line of a checkpoint; the second describes the rest (`learning.checkpoints`)."""
_CHUNK = 1 << 20
_LABEL = re.compile(
    r"(?P<grammar>.+)-(?P<max_size>\d+)-(?P<measure>leaves|nodes|depth)(-(?P<what>texts|functions)-\d+)?-[0-9a-f]{16}"
)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong in a store.

    Attributes
    ----------
    stage, artifact
        Which stage of the data path, and the folder (or file) of the artifact there.
    path, wrong
        The file or folder at fault, and what is wrong with it.
    delete
        What is to be deleted, so that it can be made again; None if nothing is.
    again
        Command or call that makes it again; empty if deleting is all.
    needed_by
        Artifacts that were made from it, as ``stage/folder``. They stay valid, for what is made again is the same.
    """

    stage: str
    artifact: str
    path: Path
    wrong: str
    delete: Path | None = None
    again: str = ""
    needed_by: tuple[str, ...] = ()

    @property
    def mend(self) -> str:
        """What to do, in words."""
        deleting = f"delete {self.delete}" if self.delete is not None else ""
        return " and run ".join(filter(None, (deleting, self.again))) if deleting else f"run {self.again}"

    def __str__(self) -> str:
        return f"{self.path} {self.wrong}: {self.mend}"

    def row(self) -> dict[str, Any]:
        """The problem as JSON."""
        return {
            "stage": self.stage, "artifact": self.artifact, "path": str(self.path), "wrong": self.wrong,
            "mend": self.mend, "needed_by": list(self.needed_by),
        }  # fmt: skip


# ---------------------------------------------------------------- what makes it again


def _bound(identity: Mapping[str, Any]) -> str:
    return f"--grammar {identity['grammar']} --{identity['measure']} {identity['max_size']}"


def _universe(identity: Mapping[str, Any]) -> str:
    return f"enumerate {_bound(identity)} --on-disk" + " --functions-only" * (identity["what"] == "functions")


_COMMANDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "corpus": lambda about: f"enumerate {_bound(about)}",
    "universe": _universe,
    "run": lambda about: (
        f"train --split {about['split']} --model {about['model']['width']}x{about['model']['layers']} "
        f"--steps {about['training']['num_steps']} --seed {about['training']['seed']}"
    ),
    "verdict": lambda about: f"verdict {about['split']}",
    "outcomes": lambda about: "study PRESET",
    "study": lambda about: "study PRESET",
    "contest": lambda about: "contest PRESET",
}
_CALLS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "space": lambda about: f"fit_{about['kind']} on corpus {about['corpus']} with {json.dumps(about['settings'])}",
    "projection": lambda about: f"project on space {about['space']} with {json.dumps(about['settings'])}",
    "split": lambda about: f"draw_split of kind {about['kind']!r} with {json.dumps(about['settings'])}",
}


def made_by(stage: str, identity: Mapping[str, Any]) -> str:
    """Command or call that makes an artifact; in general words where its manifest is gone."""
    try:
        if stage in _COMMANDS:
            return f"`python -m synthlab {_COMMANDS[stage](identity)}`"
        return _CALLS[stage](identity) if stage in _CALLS else f"what made this {stage}"
    except (KeyError, TypeError):
        return f"what made this {stage}"


def _by_label(folder: Path) -> dict[str, Any]:
    """What a folder's name says of a universe, where its manifest says nothing."""
    found = _LABEL.fullmatch(folder.name)
    return found.groupdict() if found else {}


# ---------------------------------------------------------------- the store


@dataclass(frozen=True)
class _Artifact:
    """A folder with its identity as far as it can be read, and what it takes to report on it."""

    folder: Path
    identity: dict[str, Any] = field(default_factory=dict)

    def problem(self, path: Path, wrong: str, *, delete: Path | None, make: bool = True) -> Problem:
        stage = self.folder.parent.name
        again = made_by(stage, self.identity or _by_label(self.folder)) if make else ""
        return Problem(
            stage=stage, artifact=self.folder.name, path=path, wrong=wrong, delete=delete, again=again
        )  # fmt: skip

    def stray(self, path: Path) -> Problem:
        return self.problem(path, "is not in the manifest", delete=path, make=False)


def problems(store: Store, *, progress: bool = False) -> list[Problem]:
    """Everything that is wrong below the root of a store, and how it is mended.

    Parameters
    ----------
    store
        What to look at; nothing of it is changed.
    progress
        Show a progress bar in bytes.
    """
    from tqdm.auto import tqdm

    total = sum(p.stat().st_size for p in store.root.rglob("*") if p.is_file()) if progress else 0
    found: list[Problem] = []
    with tqdm(total=total, desc="verify", unit="B", unit_scale=True, disable=not progress) as bar:
        for stage in sorted(p for p in store.root.glob("*") if p.is_dir() and not is_staged(p)):
            look = {CHECKPOINTS: _checkpoints, FAILURES: _failures, PROGRESS: _nothing}.get(stage.name, _stage)
            found += look(store, stage, bar.update)
    found += [_leftover(path) for path in leftovers(store.root)]
    known = _known(store) if found else {}
    return [replace(p, needed_by=_descendants(known, f"{p.stage}/{p.artifact}")) for p in found]


Seen = Callable[[int], Any]


def _nothing(store: Store, folder: Path, seen: Seen) -> Iterator[Problem]:
    """Nobody's results: what a process at work says of itself."""
    return iter(())


def _leftover(path: Path) -> Problem:
    stage = path.parent.name
    return Problem(stage=stage, artifact=path.name, path=path, wrong="was left by a killed writer", delete=path)


def _stage(store: Store, folder: Path, seen: Seen) -> Iterator[Problem]:
    """Artifacts of a stage, their names, and what does not belong there."""
    for path in sorted(folder.iterdir()):
        if path.name == NAMES and path.is_dir():
            yield from _names(store, path)
        elif path.is_dir() and not is_staged(path):
            yield from _artifact(_Artifact(path), seen)
        elif not is_staged(path):
            yield Problem(stage=folder.name, artifact=path.name, path=path, wrong="is no artifact", delete=path)
    yield from map(_leftover, leftovers(folder))


def _artifact(artifact: _Artifact, seen: Seen) -> Iterator[Problem]:
    folder = artifact.folder
    pieces = {p.name for p in folder.iterdir() if p.is_dir() and not is_staged(p)}
    path = folder / MANIFEST
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        if path.exists():
            yield artifact.problem(path, _reason(error, path), delete=path if pieces else folder)
        else:
            wrong = "has no manifest, so it is unfinished"
            yield artifact.problem(folder, wrong, delete=None if pieces else folder)
        for name in sorted(pieces):
            yield from _piece(artifact, name, None, seen)
        return
    artifact = replace(artifact, identity=manifest["identity"])
    if manifest["stage"] != folder.parent.name:
        yield artifact.problem(folder, f"is a {manifest['stage']}, not a {folder.parent.name}", delete=folder)
    shards = manifest.get("shards", {})
    yield from _content(artifact, folder, manifest["payload"], {*shards, MANIFEST}, seen)
    for name, digest in shards.items():
        yield from _piece(artifact, name, digest, seen)


def _piece(artifact: _Artifact, name: str, digest: str | None, seen: Seen) -> Iterator[Problem]:
    folder = artifact.folder / name
    try:
        shard = read_shard_manifest(folder, digest)
    except ArtifactError as error:
        at_fault = folder / MANIFEST
        yield artifact.problem(at_fault, _reason(error, at_fault), delete=folder)
        return
    yield from _content(artifact, folder, shard["payload"], {MANIFEST}, seen)


def _reason(error: ArtifactError, path: Path) -> str:
    """What an error says of a file, without the file and the mend."""
    text = str(error).rpartition(": delete")[0]
    return text.removeprefix(str(path)).removeprefix(str(path.parent)).strip()


def _content(
    artifact: _Artifact, folder: Path, payload: Mapping[str, Any], more: set[str], seen: Seen
) -> Iterator[Problem]:
    """Payloads that are not what the manifest says, and files that it does not name."""
    for name, entry in payload.items():
        path = folder / name
        try:
            wrong = _difference(path, entry["bytes"], entry["sha256"], seen)
        except OSError as error:
            wrong = f"cannot be read ({error.strerror})"
        if wrong:
            yield artifact.problem(path, wrong, delete=folder)
    for path in sorted(folder.iterdir()):
        if path.name not in {*payload, *more} and not is_staged(path):
            yield artifact.stray(path)
    yield from map(_leftover, leftovers(folder))


def _difference(path: Path, size: int, digest: str, seen: Seen) -> str:
    """How a file differs from what was written; empty if it does not."""
    found = path.stat().st_size
    if found != size:
        return f"has {found} bytes, not {size}"
    return "" if hashed(path, seen) == digest else "is damaged"


def hashed(path: Path, seen: Seen = lambda number: None, *, skip: int = 0) -> str:
    """SHA-256 of a file, read in pieces of a megabyte; `skip` bytes at its start are left out."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(skip)
        for chunk in iter(partial(file.read, _CHUNK), b""):
            digest.update(chunk)
            seen(len(chunk))
    return digest.hexdigest()


def _names(store: Store, folder: Path) -> Iterator[Problem]:
    """Names that lead nowhere, and files that are no names."""
    stage = folder.parent.name
    for path in sorted(folder.iterdir()):
        problem = partial(Problem, stage=stage, artifact=path.name, path=path, delete=path)
        if path.suffix != ".json":
            if not is_staged(path):
                yield problem(wrong="is no name")
            continue
        try:
            store.folder(stage, store.named(stage, path.stem))
        except ArtifactError as error:
            damaged = str(path) in str(error)
            wrong = "is damaged" if damaged else "leads to an artifact that is not there"
            yield problem(wrong=wrong, again=f"what saves a {stage} under the name {path.stem!r}")
    yield from map(_leftover, leftovers(folder))


# ---------------------------------------------------------------- runs under way, and failures


def _checkpoints(store: Store, folder: Path, seen: Seen) -> Iterator[Problem]:
    """Checkpoints of interrupted runs, and what finished runs no longer need."""
    for run in sorted(p for p in folder.iterdir() if p.is_dir()):
        problem = partial(Problem, stage=CHECKPOINTS, artifact=run.name)
        if store.has("run", run.name):
            yield problem(path=run, wrong="belongs to a run that is finished", delete=run)
            continue
        for path in sorted(run.glob("step-*.ckpt")):
            if wrong := _checkpoint(path, run.name, seen):
                again = "the training again, which goes on from the checkpoint before it, if there is one"
                yield problem(path=path, wrong=wrong, delete=path, again=again)
        for path in sorted(run.glob("*.damaged")):
            yield problem(path=path, wrong="was found damaged by a training", delete=path)
        yield from map(_leftover, leftovers(run))


def _checkpoint(path: Path, key: str, seen: Seen) -> str:
    """What is wrong with a checkpoint; empty if it is whole and of its run."""
    try:
        with path.open("rb") as file:
            kind, header = file.readline(), file.readline()
        about = json.loads(header)
        wrong = _difference_behind(path, len(kind) + len(header), about, seen)
        if kind != CHECKPOINT_FORMAT + b"\n" or json.dumps(about).encode() + b"\n" != header:
            return "is damaged in its first lines"
        if not wrong and content_key("run", RUN_SCHEMA, about["identity"]) != key:
            return "belongs to another run, or to another version"
        return wrong
    except FileNotFoundError:
        return ""  # a training that goes on has put a newer one in its place
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "is damaged in its first lines"


def _difference_behind(path: Path, start: int, about: Mapping[str, Any], seen: Seen) -> str:
    found = path.stat().st_size - start
    if found != about["bytes"]:
        return f"has {found} bytes behind its first lines, not {about['bytes']}"
    return "" if hashed(path, seen, skip=start) == about["sha256"] else "is damaged"


def _failures(store: Store, folder: Path, seen: Seen) -> Iterator[Problem]:
    """Notes on trials that failed; half a note is no note."""
    for path in sorted(folder.glob("*.json")):
        try:
            whole = isinstance(json.loads(path.read_bytes()), dict)
        except (OSError, ValueError, RecursionError):
            whole = False
        if not whole:
            yield Problem(stage=FAILURES, artifact=path.name, path=path, wrong="is no note on a trial", delete=path)
    yield from map(_leftover, leftovers(folder))


# ---------------------------------------------------------------- who was made from what


def _known(store: Store) -> dict[str, tuple[str, dict[str, Any]]]:
    """Key and identity of every artifact whose manifest can be read, by ``stage/folder``."""
    found = {}
    for folder in store.artifacts():
        name, identity = f"{folder.parent.name}/{folder.name}", {}
        with contextlib.suppress(ArtifactError):
            identity = read_manifest(folder)["identity"]
        found[name] = (folder.name[-16:], identity)
    return found


def _descendants(known: Mapping[str, tuple[str, dict[str, Any]]], name: str) -> tuple[str, ...]:
    """Artifacts whose identity holds the key of one, or all of its identity, and those made from them in turn."""
    reached, waiting = set[str](), [name]
    while waiting:
        key, identity = known.get(waiting.pop(), ("", {}))
        if not key:
            continue
        for other, (_, made_from) in known.items():
            if other not in reached and other != name and _holds(made_from, key, identity):
                reached.add(other)
                waiting.append(other)
    return tuple(sorted(reached))


def _holds(value: Any, key: str, identity: dict[str, Any]) -> bool:
    """Whether a key, or an identity in full, stands anywhere in a description."""
    if isinstance(value, dict):
        parts = list(value.values())
        return any(p == key or (identity and p == identity) or _holds(p, key, identity) for p in parts)
    return isinstance(value, list) and any(p == key or _holds(p, key, identity) for p in value)
