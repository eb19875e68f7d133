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
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import pandas as pd

from synthlab.durable import explained, require_space, sync_folder, temporary_in, write_atomically, write_synced
from synthlab.errors import ArtifactError, ConfigurationError

Payload = np.ndarray | pd.DataFrame | bytes
_SUFFIX = {".npy": "array", ".parquet": "table", ".bin": "bytes"}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
            for key in (key_or_name, self._named(stage, key_or_name)):
                if found := sorted((self.root / stage).glob(f"*-{key}")):
                    return found[0]
        names = ", ".join(self._name_files(stage)) or "none saved yet"
        raise ArtifactError(f"no {stage} {key_or_name!r} in {self.root}: known names are {names}")

    def has(self, stage: str, key: str) -> bool:
        """Whether an artifact is committed."""
        return any((self.root / stage).glob(f"*-{key}/manifest.json"))

    def names(self, stage: str) -> dict[str, str]:
        """Names given to artifacts of a stage, and their keys."""
        return {name: self._named(stage, name) for name in self._name_files(stage)}

    def _name_files(self, stage: str) -> dict[str, Path]:
        return {p.stem: p for p in sorted((self.root / stage / "names").glob("*.json"))}

    def _named(self, stage: str, name: str) -> str:
        """Key behind a name; the name itself if it names nothing."""
        path = self._name_files(stage).get(name)
        if path is None:
            return name
        try:
            return str(json.loads(path.read_bytes())["key"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged: delete it and save under that name again") from error

    def name(self, carrier: Carrier, name: str) -> None:
        """Save an artifact and give it a name, replacing an earlier meaning of the name."""
        if not _LABEL.fullmatch(name):
            raise ConfigurationError(f"name {name!r}: use up to 64 letters, digits, '.', '_' and '-'")
        carrier.save(self)
        folder = self.root / carrier.stage / "names"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{name}.json", json.dumps({"key": carrier.key}).encode())

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
        write_folder(target, identity, carrier.payload())
        return target

    # ------------------------------------------------------------ reading

    def read(self, stage: str, key_or_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Manifest and decoded payload of an artifact."""
        folder = self.folder(stage, key_or_name)
        manifest = _read_manifest(folder)
        return manifest, read_payload(folder, manifest)

    def manifest(self, stage: str, key_or_name: str) -> dict[str, Any]:
        """Manifest of an artifact, without its payload."""
        return _read_manifest(self.folder(stage, key_or_name))

    def artifacts(self) -> Iterator[Path]:
        """Folders of all committed artifacts."""
        manifests = sorted(self.root.glob("*/*/manifest.json"))
        return (p.parent for p in manifests if not p.parent.name.startswith("."))

    def verify(self) -> list[str]:
        """Rehash every payload; returns one line per problem, each naming the mend."""
        found = [problem for folder in self.artifacts() for problem in _problems(folder)]
        for folder in sorted(p for p in self.root.glob("*/*-*") if p.is_dir() and not p.name.startswith(".")):
            if folder.parent.name != "checkpoints" and not (folder / "manifest.json").exists():
                found.append(f"{folder} has no manifest: run what made it again, or delete it")
        for stage in sorted(p.parent.name for p in self.root.glob("*/names")):
            for name in self._name_files(stage):
                try:
                    self.folder(stage, name)
                except ArtifactError as error:
                    found.append(str(error))
        return found


def write_folder(target: Path, manifest: Mapping[str, Any], payload: Mapping[str, Payload]) -> None:
    """Commit a folder of payloads in one rename; its manifest gains their sizes and SHA-256.

    Raises
    ------
    ArtifactError
        If the disk has no room for it, or the folder cannot be written.
    """
    parent = target.parent
    files = {_file_name(name, value): _encode(value) for name, value in payload.items()}
    entries = {n: {"sha256": hashlib.sha256(b).hexdigest(), "bytes": len(b)} for n, b in files.items()}
    files["manifest.json"] = json.dumps({**manifest, "payload": entries}, indent=1, default=str).encode()
    needed, staging = sum(map(len, files.values())), temporary_in(parent)
    with explained(parent, needed):
        parent.mkdir(parents=True, exist_ok=True)
        require_space(parent, needed)
        try:
            staging.mkdir()
            for name, content in files.items():
                write_synced(staging / name, content)
            _commit(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def read_payload(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Decoded payloads of a folder, by name."""
    payload = {}
    for file_name, entry in manifest["payload"].items():
        content = _read_checked(folder / file_name, entry["bytes"], entry["sha256"])
        payload[Path(file_name).stem] = _decode(folder / file_name, content)
    return payload


def _commit(staging: Path, target: Path) -> None:
    sync_folder(staging)
    if target.exists() and not (target / "manifest.json").exists():
        shutil.rmtree(target)  # what is left of a damaged artifact
    try:
        staging.rename(target)
    except OSError:
        if not (target / "manifest.json").exists():  # another process may have committed the same content first
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


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        key = content_key(manifest["stage"], manifest["schema"], manifest["identity"])
        all(manifest["payload"][name]["bytes"] >= 0 for name in manifest["payload"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): delete {folder} and run again") from error
    if not folder.name.endswith(key):
        raise ArtifactError(f"{path} does not belong to its folder: delete {folder} and run again")
    return manifest


def _read_checked(path: Path, size: int | None, digest: str | None = None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): delete {path.parent} and run again") from error
    if size is not None and len(content) != size:
        raise ArtifactError(f"{path} has {len(content)} bytes, not {size}: delete {path.parent} and run again")
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactError(f"{path} is damaged: delete {path.parent} and run again")
    return content


def _problems(folder: Path) -> list[str]:
    try:
        manifest = _read_manifest(folder)
    except ArtifactError as error:
        return [str(error)]
    shards = manifest.get("shards", {})
    found = _strangers(folder, {*manifest["payload"], *shards, "manifest.json"}) + _damaged(folder, manifest)
    for name, digest in shards.items():
        found += _shard_problems(folder / name, digest)
    return found


def _shard_problems(folder: Path, digest: str) -> list[str]:
    try:
        content = _read_checked(folder / "manifest.json", None)
        if hashlib.sha256(content).hexdigest() != digest:
            return [f"{folder} is damaged: delete {folder} and run again"]
        shard = read_shard_manifest(folder)
    except ArtifactError as error:
        return [str(error)]
    return _strangers(folder, {*shard["payload"], "manifest.json"}) + _damaged(folder, shard)


def _strangers(folder: Path, expected: set[str]) -> list[str]:
    names = sorted(p.name for p in folder.iterdir())
    return [f"{folder / name} is not in the manifest: delete it" for name in names if name not in expected]


def _damaged(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    found = []
    for name, entry in manifest["payload"].items():
        try:
            _read_checked(folder / name, entry["bytes"], entry["sha256"])
        except ArtifactError as error:
            found.append(str(error))
    return found


def read_shard_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of one piece of a sharded artifact.

    Raises
    ------
    ArtifactError
        If it cannot be read, or belongs to another folder.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        belongs = manifest["shard"] == folder.name and manifest["rows"] >= 0 and manifest["payload"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}): delete {folder} and run again") from error
    if not belongs:
        raise ArtifactError(f"{path} does not belong to its folder: delete {folder} and run again")
    return manifest
