"""Artifacts from one store to another as plain zip files, so that slices of a study on several machines become one."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from synthlab.durable import explained, remove_leftovers, temporary_in, write_atomically, write_synced
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.store import Store, commit_folder

_NAME = r"[A-Za-z0-9][A-Za-z0-9._ -]*"
_MEMBER = re.compile(rf"(?P<folder>[a-z]+/{_NAME}-[0-9a-f]{{16}})/(?P<file>{_NAME})")
_MOST_BYTES = 1 << 28
"""Of a pack when it is unpacked, whatever it claims: members are held in memory one by one."""
MAX_FILE_BYTES = 15 << 20
"""Size at which a pack is divided, before compression."""


def pack(store: Store, stage: str, keys: Iterable[str], target: Path, *, max_bytes: int = MAX_FILE_BYTES) -> list[Path]:
    """Write artifacts of a stage into ``<target>-1.zip``, ``<target>-2.zip``, ..., none of much more than `max_bytes`.

    Raises
    ------
    ArtifactError
        If one of them is not in the store or is damaged.
    """
    packs: list[tuple[io.BytesIO, int]] = []
    for key in keys:
        manifest, _ = store.read(stage, key)  # what is damaged here must not travel
        folder = store.folder(stage, key)
        files = {name: (folder / name).read_bytes() for name in sorted({*manifest["payload"], "manifest.json"})}
        size = sum(map(len, files.values()))
        if not packs or packs[-1][1] + size > max_bytes:
            packs.append((io.BytesIO(), 0))
        buffer, held = packs[-1]
        with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                member = zipfile.ZipInfo(f"{stage}/{folder.name}/{name}")  # without the time, so that packs are equal
                member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(member, content)
        packs[-1] = (buffer, held + size)
    with explained(target.parent, 0):
        target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    paths = [target.with_name(f"{target.name}-{number}.zip") for number in range(1, len(packs) + 1)]
    for path, (buffer, _) in zip(paths, packs, strict=True):
        write_atomically(path, buffer.getvalue())
    return paths


def unpack(store: Store, path: Path, schemas: dict[str, int]) -> int:
    """Take the artifacts of a pack into a store; those that it holds already are left as they are.

    Parameters
    ----------
    store, path
        Where to, and the file.
    schemas
        Version that every stage must have; other stages are refused.

    Returns
    -------
    int
        Number of artifacts that were new.

    Raises
    ------
    ArtifactError
        If the file is no pack, is damaged, or was made by another version of synthlab; nothing of it is kept then.
    """
    staging = Store(temporary_in(store.root))  # of its own, since several may unpack at a time
    remove_leftovers(store.root)
    try:
        names = _extract(path, staging)
        for stage, key in names:
            _check(path, staging, stage, key, schemas)
        return sum(_take(store, staging, stage, key) for stage, key in names)
    finally:
        _remove(staging.root)


def _check(path: Path, staging: Store, stage: str, key: str, schemas: dict[str, int]) -> None:
    """Refuse what no store has written, or one that is none of ours."""
    try:
        manifest, _ = staging.read(stage, key)
        schema, found = manifest["schema"], manifest["stage"]
        expected = {*manifest["payload"], "manifest.json"}
        there = {p.name for p in staging.folder(stage, key).iterdir()}
    except Exception as error:  # a manifest by another hand has many ways to be wrong
        reason = " ".join(str(error).partition(": delete")[0].split())
        raise ArtifactError(f"{path} holds a damaged artifact ({reason}): copy it again, or pack it anew") from error
    if stage not in schemas or found != stage:
        raise ArtifactError(f"{path} holds artifacts of stage {found!r}: only {', '.join(schemas)} are taken")
    if schema != schemas[stage]:
        raise ArtifactError(
            f"{path} holds {stage} of schema {schema}, not {schemas[stage]}: make them again with this version"
        )
    if expected != there:
        raise ArtifactError(f"{path} holds other files than its manifests name: pack it anew")


def _extract(path: Path, staging: Store) -> list[tuple[str, str]]:
    """Write the members of a pack to a store of their own; their stages and keys."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > _MOST_BYTES:
                raise ArtifactError(
                    f"{path} would unpack to over {_MOST_BYTES / 1e9:.1f} GB: it is no pack of outcomes"
                )
            folders = dict[str, None]()
            for member in members:
                found = _MEMBER.fullmatch(member.filename)
                if found is None:
                    raise ArtifactError(f"{path} is no pack of outcomes: it holds {member.filename[:60]!r}")
                folder, content = staging.root / found["folder"], _content(archive, member)
                with explained(staging.root.parent, sum(m.file_size for m in members)):
                    folder.mkdir(parents=True, exist_ok=True)
                    write_synced(folder / found["file"], content)
                folders[found["folder"]] = None
    except ArtifactError:
        raise
    except Exception as error:  # of the system, of the archive, or of any compression
        raise ArtifactError(f"{path} cannot be unpacked ({' '.join(str(error).split())}): copy it again") from error
    return [(folder.partition("/")[0], folder[-16:]) for folder in folders]


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member, of which no more is unpacked than its header declares; `read` of it all would unpack what there is."""
    with archive.open(member) as file:
        return file.read(member.file_size)


def _take(store: Store, staging: Store, stage: str, key: str) -> bool:
    if store.has(stage, key):
        return False
    remove_leftovers(store.root / stage)
    source = staging.folder(stage, key)
    target = store.root / stage / source.name
    with explained(target.parent, 0):
        target.parent.mkdir(parents=True, exist_ok=True)
        commit_folder(source, target)
    return True


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def merge(store: Store, paths: Iterable[Path], schemas: dict[str, int]) -> int:
    """Take several packs into a store; how many artifacts were new.

    Raises
    ------
    ConfigurationError
        If one of the files is not there.
    """
    paths = list(paths)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ConfigurationError(f"no file {missing[0]}: name packs that `synthlab study --pack` wrote")
    return sum(unpack(store, path, schemas) for path in paths)
