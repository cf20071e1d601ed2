"""Decide what a path is and collect what can be known about it.

Only reading: nothing is run, unpacked, written or sent. A file whose bytes are not those its
manifest was written for is refused, because everything else said about it would be hearsay.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from edgekd_bench.bundle import DESCRIPTION_NAME, is_bundle, open_bundle
from edgekd_bench.engine_fit import (
    ENGINE_MODULES,
    PRODUCT_NAMES,
    check_engine_fits,
    platform_tag,
    this_machine,
)
from edgekd_bench.engine_header import read_engine
from edgekd_bench.errors import InputError
from edgekd_bench.inspection.bundle_archive_check import read_bundle_archive
from edgekd_bench.inspection.findings import EngineFit, Inspection, Kind, ManifestSource
from edgekd_bench.inspection.json_files import (
    CACHE_NAME,
    calibration_facts,
    feature_cache_facts,
    kind_of_json,
    read_json,
)
from edgekd_bench.inspection.onnx_graph import read_graph
from edgekd_bench.inspection.torch_files import BACKBONE_FORMAT, read_torch_file
from edgekd_bench.manifest import (
    MANIFEST_KEY,
    Manifest,
    manifest_path,
    parse_manifest,
    read_manifest,
    sha256_of,
)
from edgekd_bench.onnx_metadata import read_onnx_manifest, read_onnx_metadata
from edgekd_bench.record import read_record

_RECORD_NAME = "results.json"
_ULTRALYTICS_KEYS = frozenset({"names", "stride", "imgsz"})
_UNCHECKED = "nothing to hold it against"
_MATCHES = "matches the manifest beside it"


def inspect(path: Path) -> Inspection:
    """Everything that can be known about one of edgekd's files or folders.

    Args:
        path: ``.pt``, ``.onnx``, ``.engine``, ``.json`` or ``.tar``; a bundle, a feature cache, or
            a run folder with ``results.json``.

    Raises:
        InputError: missing, damaged, changed after its manifest was written, or of no kind known.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if path.is_dir():
        return _inspect_folder(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: not a kind of file edgekd makes; give {', '.join(_READERS)} or a bundle"
        )
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty; copy it again")
        return reader(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it or its manifest is no text ({error}); copy both again") from (
            error
        )


def _inspect_folder(path: Path) -> Inspection:
    if is_bundle(path):
        return _inspect_bundle(path)
    for name in (CACHE_NAME, _RECORD_NAME):
        if (path / name).is_file():
            return _inspect_json(path / name)
    raise InputError(
        f"{path}: {'a folder' if any(path.iterdir()) else 'an empty folder'} without "
        f"{DESCRIPTION_NAME}, {CACHE_NAME} or {_RECORD_NAME}; give one of the files in it"
    )


def _inspect_onnx(path: Path) -> Inspection:
    graph = read_graph(path)
    metadata = read_onnx_metadata(path)
    source: ManifestSource | None = None
    if manifest_path(path).exists():
        source = "beside it"
    elif MANIFEST_KEY in metadata:
        source = "inside it"
    elif metadata.keys() >= _ULTRALYTICS_KEYS:
        source = "Ultralytics' metadata"
    manifest = read_onnx_manifest(path, metadata) if source else None
    notes = [] if manifest else ["no manifest and no metadata of Ultralytics: not made by edgekd"]
    if manifest and graph.precision and graph.precision != manifest.precision:
        notes.append(
            f"declared {manifest.precision}, but the graph is {graph.precision}: do not trust "
            "figures that name its precision"
        )
    if graph.external_data:
        notes.append("some weights lie in other files, which this hash does not cover")
    return _file("onnx", path, manifest=manifest, source=source, graph=graph, notes=notes)


def _inspect_engine(path: Path) -> Inspection:
    manifest, _ = read_engine(path)
    own = manifest_path(path).exists()
    source: ManifestSource = "beside it" if own else "Ultralytics' metadata"
    return _file(
        "engine", path, manifest=manifest, source=source, engine_fit=_engine_fit(path, manifest)
    )


def _engine_fit(path: Path, manifest: Manifest) -> EngineFit:
    if manifest.engine is None:
        return EngineFit(
            fits=None, machine=platform_tag(), reason="it does not say what it was built by"
        )
    builder = manifest.engine.builder
    try:
        version = getattr(import_module(ENGINE_MODULES[builder]), "__version__", None)
        broken = ""
    except ImportError:
        version, broken = None, ""
    except (OSError, RuntimeError) as error:  # the bindings are there, their library is not
        version = None
        broken = f" ({PRODUCT_NAMES[builder]} is installed but does not start: {error})"
    machine = this_machine(builder, version)
    try:
        check_engine_fits(path, manifest, machine)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ") + broken
        return EngineFit(fits=False, machine=str(machine), reason=reason)
    return EngineFit(fits=True, machine=str(machine))


def _inspect_torch(path: Path) -> Inspection:
    manifest = read_manifest(path)
    if manifest is not None:
        return _file("detector", path, manifest=manifest, source="beside it")
    found = read_torch_file(path)
    if isinstance(found, Manifest):
        notes = ["no manifest beside it: an Ultralytics checkpoint, whose history is unknown"]
        return _file("detector", path, manifest=found, source="the network itself", notes=notes)
    is_backbone = found.format.startswith(BACKBONE_FORMAT)
    return _file("backbone" if is_backbone else "distillation checkpoint", path, distillation=found)


def _inspect_json(path: Path) -> Inspection:
    raw = read_json(path)
    kind = kind_of_json(path, raw)
    if kind == "benchmark":
        return _file(kind, path, benchmark=read_record(path))
    if kind == "bundle":
        return _inspect_bundle(path.parent)
    if kind == "calibration cache":
        return _file(kind, path, calibration=calibration_facts(path, raw))
    if kind == "feature cache":
        return _file(kind, path, feature_cache=feature_cache_facts(path, raw))
    return _inspect_manifest(path)


def _inspect_manifest(path: Path) -> Inspection:
    manifest = parse_manifest(path.read_text(encoding="utf-8"), str(path))
    artefact = path.with_suffix("")
    if not artefact.is_file():
        notes = [f"{artefact.name} is not here, so its hash was not checked"]
        return _file("manifest", path, manifest=manifest, notes=notes)
    read_manifest(artefact)  # refuses bytes that are not those it was written for
    checked = f"{artefact.name} beside it is the file it describes"
    return _file("manifest", path, manifest=manifest).model_copy(update={"hash_check": checked})


def _inspect_bundle(path: Path) -> Inspection:
    if path.is_dir():
        bundle = open_bundle(path).description
        size, sha256 = sum(file.size for file in bundle.files), None
    else:
        bundle = read_bundle_archive(path)
        size, sha256 = path.stat().st_size, sha256_of(path)
    return Inspection(
        kind="bundle",
        path=str(path),
        size_bytes=size,
        sha256=sha256,
        hash_check=f"all {len(bundle.files)} files are those that were packed",
        bundle=bundle,
    )


def _file(
    kind: Kind,
    path: Path,
    *,
    manifest: Manifest | None = None,
    source: ManifestSource | None = None,
    **parts: Any,
) -> Inspection:
    return Inspection(
        kind=kind,
        path=str(path),
        size_bytes=path.stat().st_size,
        sha256=sha256_of(path),
        hash_check=_MATCHES if source == "beside it" else _UNCHECKED,
        manifest=manifest,
        manifest_source=source,
        **parts,
    )


_READERS: dict[str, Callable[[Path], Inspection]] = {
    ".pt": _inspect_torch,
    ".onnx": _inspect_onnx,
    ".engine": _inspect_engine,
    ".json": _inspect_json,
    ".tar": _inspect_bundle,
}
