"""Content-keyed, atomic, checksummed artifacts; never edited, only recomputed.

An artifact is a folder ``<stage>/<label>-<key>/`` with a manifest and its payloads. The key hashes what
the artifact was made from, so a changed grammar, setting or schema is another artifact. Writing goes to
a sibling folder and is committed by one rename; the manifest holds the SHA-256 of every payload.
Nothing is pickled.
"""

from __future__ import annotations

import abc
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import pandas as pd

from synthlab.durable import (
    explained,
    remove_leftovers,
    require_space,
    sealed,
    sync_folder,
    temporary_in,
    unsealed,
    write_atomically,
    write_synced,
)
from synthlab.errors import ArtifactError, ConfigurationError

if TYPE_CHECKING:
    from synthlab.verification import Problem

Payload = np.ndarray | pd.DataFrame | bytes
_SUFFIX = {".npy": "array", ".parquet": "table", ".bin": "bytes"}
MANIFEST = "manifest.json"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._ -]*({'|'.join(map(re.escape, _SUFFIX))})")
_DIGEST = re.compile("[0-9a-f]{64}")


def default_root() -> Path:
    """Folder of the store: ``$SYNTHLAB_STORE``, else ``data/store`` of the checkout, else of the working folder."""
    return project_root() / os.environ.get("SYNTHLAB_STORE", "data/store")


def project_root() -> Path:
    """The checkout that holds the package, or the working folder when it is installed elsewhere."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def content_key(stage: str, schema: int, identity: Mapping[str, Any]) -> str:
    """Key of an artifact: 16 hexadecimal digits of the SHA-256 of what it is made from."""
    # an identity that uses these words itself goes in whole, so that it cannot stand in for them
    flat = not {"stage", "schema", "identity"} & identity.keys()
    described = {"stage": stage, "schema": schema, **(identity if flat else {"identity": identity})}
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Carrier(abc.ABC):
    """A stage's result: knows what it was made from, and saves and loads itself."""

    stage: ClassVar[str]
    schema: ClassVar[int] = 1

    @property
    @abc.abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the content, as JSON: settings and the keys of the parents."""

    @property
    def label(self) -> str:
        """Readable part of the folder name."""
        return self.stage

    @property
    def key(self) -> str:
        """Content key."""
        return content_key(self.stage, self.schema, self.identity)

    @abc.abstractmethod
    def payload(self) -> Mapping[str, Payload]:
        """Arrays, tables and bytes by name."""

    @classmethod
    @abc.abstractmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        """Inverse of `identity` and `payload`."""

    @abc.abstractmethod
    def frame(self) -> pd.DataFrame:
        """The content as a table."""

    def save(self, store: Store) -> str:
        """Commit to the store; returns the key."""
        store.write(self)
        return self.key

    @classmethod
    def load(cls, store: Store, key: str) -> Self:
        """Read from the store by key or by name."""
        manifest, payload = store.read(cls.stage, key)
        if manifest["stage"] != cls.stage:
            raise ArtifactError(f"{store.folder(cls.stage, key)} holds a {manifest['stage']}: move it there")
        if manifest["schema"] != cls.schema:
            raise ArtifactError(f"{cls.stage} {key} has schema {manifest['schema']}, not {cls.schema}: recompute it")
        return cls.restore(manifest["identity"], payload)


C = TypeVar("C", bound=Carrier)


class Store:
    """Artifacts below one folder."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()

    # ------------------------------------------------------------ names and folders

    def folder(self, stage: str, key_or_name: str) -> Path:
        """Folder of an artifact.

        Raises
        ------
        ArtifactError
            If there is none; the message lists the names that exist.
        """
        if _LABEL.fullmatch(key_or_name):
            for key in (key_or_name, self.named(stage, key_or_name)):
                if found := sorted((self.root / stage).glob(f"*-{key}")):
                    return next((f for f in found if (f / MANIFEST).exists()), found[0])
        names = ", ".join(self._name_files(stage)) or "none saved yet"
        raise ArtifactError(f"no {stage} {key_or_name!r} in {self.root}: known names are {names}")

    def has(self, stage: str, key: str) -> bool:
        """Whether an artifact is committed."""
        return any((self.root / stage).glob(f"*-{key}/{MANIFEST}"))

    def names(self, stage: str) -> dict[str, str]:
        """Names given to artifacts of a stage, and their keys."""
        return {name: self.named(stage, name) for name in self._name_files(stage)}

    def _name_files(self, stage: str) -> dict[str, Path]:
        return {p.stem: p for p in sorted((self.root / stage / "names").glob("*.json"))}

    def named(self, stage: str, name: str) -> str:
        """Key behind a name; the name itself if it names nothing."""
        path = self._name_files(stage).get(name)
        if path is None:
            return name
        try:
            found = unsealed(path.read_bytes())
            if found["name"] == name:
                return str(found["key"])
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{path} is damaged: delete it and save under that name again") from error
        raise ArtifactError(f"{path} was written for name {found['name']!r}: delete it and save under that name again")

    def name(self, carrier: Carrier, name: str) -> str | None:
        """Save an artifact and give it a name.

        Returns
        -------
        str or None
            The key that the name meant before, if it was another: what it belongs to stays stored.
        """
        if not _LABEL.fullmatch(name):
            raise ConfigurationError(f"name {name!r}: use up to 64 letters, digits, '.', '_' and '-'")
        carrier.save(self)
        folder = self.root / carrier.stage / "names"
        with explained(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        try:
            before = self.named(carrier.stage, name)
        except ArtifactError:  # a damaged file, which is written anew
            before = name
        write_atomically(folder / f"{name}.json", sealed({"name": name, "key": carrier.key}))
        return before if before not in (name, carrier.key) else None

    # ------------------------------------------------------------ writing

    def cached(self, carrier: type[C], key: str, build: Callable[[], C]) -> C:
        """Load an artifact, or build and save it."""
        if self.has(carrier.stage, key):
            return carrier.load(self, key)
        value = build()
        value.save(self)
        return value

    def write(self, carrier: Carrier) -> Path:
        """Commit an artifact; one that is already there is left as it is."""
        parent = self.root / carrier.stage
        target = parent / f"{carrier.label}-{carrier.key}"
        if self.has(carrier.stage, carrier.key):
            return target
        identity = {"stage": carrier.stage, "schema": carrier.schema, "key": carrier.key, "identity": carrier.identity}
        remove_leftovers(parent)
        write_folder(target, identity, carrier.payload())
        return target

    # ------------------------------------------------------------ reading

    def read(self, stage: str, key_or_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Manifest and decoded payload of an artifact."""
        folder = self.folder(stage, key_or_name)
        manifest = read_manifest(folder)
        return manifest, read_payload(folder, manifest)

    def manifest(self, stage: str, key_or_name: str) -> dict[str, Any]:
        """Manifest of an artifact, without its payload."""
        return read_manifest(self.folder(stage, key_or_name))

    def artifacts(self) -> Iterator[Path]:
        """Folders of all committed artifacts."""
        manifests = sorted(self.root.glob(f"*/*/{MANIFEST}"))
        return (p.parent for p in manifests if not p.parent.name.startswith("."))

    def verify(self, *, progress: bool = False) -> list[Problem]:
        """Rehash everything below the root; one problem for each thing that is wrong, with its mend."""
        from synthlab.verification import problems

        return problems(self, progress=progress)


def write_folder(target: Path, manifest: Mapping[str, Any], payload: Mapping[str, Payload]) -> None:
    """Commit a folder of payloads in one rename; its manifest gains their sizes and SHA-256.

    Raises
    ------
    ArtifactError
        If the disk has no room for it, or the folder cannot be written.
    ConfigurationError
        If the name of a payload cannot be that of a file.
    """
    parent = target.parent
    files = {_file_name(name, value): _encode(value) for name, value in payload.items()}
    entries = {n: {"sha256": hashlib.sha256(b).hexdigest(), "bytes": len(b)} for n, b in files.items()}
    if wrong := [name for name in files if not _FILE.fullmatch(name)]:
        raise ConfigurationError(f"payload {wrong[0]!r}: use letters, digits, spaces, '.', '_' and '-'")
    files[MANIFEST] = sealed({**manifest, "payload": entries})
    needed, staging = sum(map(len, files.values())), temporary_in(parent)
    with explained(parent, needed):
        parent.mkdir(parents=True, exist_ok=True)
        require_space(parent, needed)
        try:
            staging.mkdir()
            for name, content in files.items():
                write_synced(staging / name, content)
            commit_folder(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def read_payload(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Decoded payloads of a folder, by name."""
    payload = {}
    for file_name, entry in manifest["payload"].items():
        content = _read_checked(folder / file_name, entry["bytes"], entry["sha256"])
        payload[Path(file_name).stem] = _decode(folder / file_name, content)
    return payload


def commit_folder(staging: Path, target: Path) -> None:
    """Move a staged folder to its place; what another process committed there first stays."""
    sync_folder(staging)
    if target.exists() and not (target / MANIFEST).exists():
        shutil.rmtree(target)  # what is left of a damaged artifact
    try:
        staging.rename(target)
    except OSError:
        if not (target / MANIFEST).exists():
            raise
    sync_folder(target.parent)


def _file_name(name: str, value: Payload) -> str:
    if isinstance(value, np.ndarray):
        return f"{name}.npy"
    return f"{name}.parquet" if isinstance(value, pd.DataFrame) else f"{name}.bin"


def _encode(value: Payload) -> bytes:
    if isinstance(value, bytes):
        return value
    buffer = io.BytesIO()
    if isinstance(value, np.ndarray):
        np.save(buffer, value, allow_pickle=False)
    else:
        value.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _decode(path: Path, content: bytes) -> Any:
    kind = _SUFFIX[path.suffix]
    try:
        if kind == "array":
            return np.load(io.BytesIO(content), allow_pickle=False)
        return pd.read_parquet(io.BytesIO(content)) if kind == "table" else content
    except Exception as error:
        raise ArtifactError(f"{path} is damaged ({error}): delete {path.parent} and run again") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of an artifact.

    Raises
    ------
    ArtifactError
        If it cannot be read, was changed, or belongs to another folder.
    """
    manifest = _opened(folder, ("stage", "schema", "key", "identity"))
    identity = manifest["identity"]
    key = content_key(manifest["stage"], manifest["schema"], identity) if isinstance(identity, dict) else None
    if manifest["key"] != key or not folder.name.endswith(f"-{key}"):
        raise ArtifactError(f"{folder / MANIFEST} does not belong to its folder: {_mend(folder)}")
    return manifest


def read_shard_manifest(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """Manifest of one piece of a sharded artifact.

    Parameters
    ----------
    folder, digest
        Of the piece, and the SHA-256 that its whole knows of this manifest.

    Raises
    ------
    ArtifactError
        If it cannot be read, was changed, or belongs to another folder.
    """
    manifest = _opened(folder, ("shard", "rows"))
    if manifest["shard"] != folder.name:
        raise ArtifactError(f"{folder / MANIFEST} does not belong to its folder: {_mend(folder)}")
    if digest is not None and hashlib.sha256(_bytes(folder / MANIFEST)).hexdigest() != digest:
        raise ArtifactError(f"{folder} is not the piece that was made for its universe: {_mend(folder)}")
    return manifest


def _opened(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """A manifest with these entries, and payloads that a store can have written."""
    path = folder / MANIFEST
    try:
        manifest = unsealed(_bytes(path))
        files = manifest["payload"]
        as_written = all(
            _FILE.fullmatch(name) and entry["bytes"] >= 0 and _DIGEST.fullmatch(entry["sha256"])
            for name, entry in files.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} cannot be read ({' '.join(str(error).split())}): {_mend(folder)}") from error
    if not as_written or not set(names) <= manifest.keys():
        raise ArtifactError(f"{path} cannot be read (no store writes such a thing): {_mend(folder)}")
    return manifest


def _mend(folder: Path) -> str:
    """What makes a damaged folder whole; of one in pieces, the pieces are worth keeping."""
    in_pieces = folder.is_dir() and any(p.is_dir() for p in folder.iterdir())
    return f"delete {folder / MANIFEST if in_pieces else folder} and run again"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): {_mend(path.parent)}") from error


def _read_checked(path: Path, size: int, digest: str) -> bytes:
    content = _bytes(path)
    if len(content) != size:
        raise ArtifactError(f"{path} has {len(content)} bytes, not {size}: {_mend(path.parent)}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactError(f"{path} is damaged: {_mend(path.parent)}")
    return content
