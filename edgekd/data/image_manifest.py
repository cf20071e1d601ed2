"""The list of unlabelled images a distillation really uses.

Unlabelled folders are dirty: the same frame twice, broken downloads, a validation image that
slipped in. Everything is settled here once, before any compute is spent: files are found, hashed,
opened, de-duplicated by content and checked against the detection val set.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgekd_bench.errors import InputError
from edgekd_bench.images import IMAGE_SUFFIXES, decode_image
from edgekd_bench.manifest import sha256_of, write_text_atomically


@dataclass(frozen=True)
class ImageEntry:
    """One usable image and the SHA-256 of its file."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class ImageManifest:
    """What was found: usable images in content order, broken ones, and the number of duplicates."""

    images: tuple[ImageEntry, ...]
    skipped: tuple[tuple[Path, str], ...]
    num_duplicates: int


def read_roots(manifest: Path) -> list[Path]:
    """Roots of an ``unlabeled_images.yaml``; relative ones are relative to the file's folder.

    Raises:
        InputError: no such file, not YAML, or no list of roots in it.
    """
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest of unlabelled images")
    try:
        content = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{manifest}: not valid YAML ({' '.join(str(error).split())})") from error
    roots = content.get("roots") if isinstance(content, dict) else None
    if not isinstance(roots, list) or not roots:
        raise InputError(
            f"{manifest}: needs a non-empty list 'roots' of folders, globs or .txt files"
        )
    found = []
    for root in roots:
        path = root.get("path") if isinstance(root, dict) else root
        if not isinstance(path, str):
            raise InputError(
                f"{manifest}: a root is a path or a mapping with 'path', found {root!r}"
            )
        if isinstance(root, dict) and root.get("recursive") is False:
            path = str(Path(path) / "*")
        found.append(manifest.parent / path)
    return found


def find_images(root: Path) -> list[Path]:
    """Image files under a folder (recursively), of a glob, or listed line by line in a .txt file.

    Raises:
        InputError: the root does not exist, or a listed file does not.
    """
    if root.is_dir():
        files: Iterable[Path] = (Path(d) / n for d, _, names in os.walk(root) for n in names)
        return sorted(f for f in files if f.suffix.lower() in IMAGE_SUFFIXES)
    if root.suffix == ".txt" and root.is_file():
        listed = [line.strip() for line in root.read_text(encoding="utf-8").splitlines()]
        paths = [root.parent / line for line in listed if line and not line.startswith("#")]
        missing = [p for p in paths if not p.is_file()]
        if missing:
            raise InputError(f"{root}: lists {missing[0]}, which does not exist")
        return paths
    if glob.has_magic(str(root)):
        # Path.glob cannot take an absolute pattern.
        matches = (Path(m) for m in glob.glob(str(root), recursive=True))  # noqa: PTH207
        return sorted(m for m in matches if m.suffix.lower() in IMAGE_SUFFIXES and m.is_file())
    if root.is_file():
        return [root]
    raise InputError(f"{root}: no such folder, glob or list of unlabelled images")


def build_manifest(
    roots: Sequence[Path],
    *,
    max_broken_share: float,
    forbidden: dict[str, Path] | None = None,
    skipped_file: Path | None = None,
    workers: int = 2,
) -> ImageManifest:
    """Find, open, hash and de-duplicate the images of ``roots``.

    Args:
        roots: folders, globs or text lists.
        max_broken_share: more unreadable images than this share of all is an error.
        forbidden: SHA-256 → path of the detection val images; one of them here is an error.
        skipped_file: where broken images are named, one ``path<TAB>reason`` a line.
        workers: threads that open images.

    Raises:
        InputError: nothing usable, too much broken, or a val image among them.
    """
    paths = list(dict.fromkeys(path for root in roots for path in find_images(root)))
    if not paths:
        raise InputError(
            f"no images under {', '.join(map(str, roots))}; looked for "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    with ThreadPoolExecutor(workers) as pool:
        checked = list(pool.map(_check, paths))
    skipped = tuple((p, reason) for p, (_, reason) in zip(paths, checked, strict=True) if reason)
    if skipped and skipped_file is not None:
        lines = "".join(f"{path}\t{reason}\n" for path, reason in skipped)
        write_text_atomically(skipped_file, lines)
    _refuse_too_many_broken(skipped, len(paths), max_broken_share, skipped_file)
    unique: dict[str, Path] = {}
    for path, (digest, reason) in zip(paths, checked, strict=True):
        if not reason:
            unique.setdefault(digest, path)
    _refuse_leak(unique, forbidden or {})
    images = tuple(ImageEntry(path, digest) for digest, path in sorted(unique.items()))
    return ImageManifest(images, skipped, len(paths) - len(skipped) - len(images))


def _check(path: Path) -> tuple[str, str]:
    """``(sha256, "")`` of a readable image, ``("", reason)`` of a broken one."""
    try:
        decode_image(path)
        return sha256_of(path), ""
    except (InputError, OSError) as error:
        return "", " ".join(str(error).split())


def _refuse_too_many_broken(
    skipped: Sequence[tuple[Path, str]], total: int, max_share: float, named_in: Path | None
) -> None:
    if len(skipped) == total:
        raise InputError(f"none of the {total} images can be opened; the first: {skipped[0][1]}")
    if len(skipped) > max_share * total:
        where = f"; all are named in {named_in}" if named_in else ""
        raise InputError(
            f"{len(skipped)} of {total} images are broken, more than the allowed share "
            f"{max_share:g} (unlabeled.max_broken_share); the first: {skipped[0][1]}{where}"
        )


def _refuse_leak(unique: dict[str, Path], forbidden: dict[str, Path]) -> None:
    leaked = sorted(set(unique) & set(forbidden))
    if leaked:
        raise InputError(
            f"{len(leaked)} of the unlabelled images are in the detection val set, for example "
            f"{unique[leaked[0]]} = {forbidden[leaked[0]]}; remove them from the unlabelled roots"
        )
