"""Where each measured file came from: hashes, versions, licences, calibration, parity.

The record names every file by its SHA-256. What else is known about it stands in the manifest
beside the file; one is used only where its hash is the record's, so a file that was replaced since
lends its history to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgekd_bench.manifest import Calibration, EngineBuild, Manifest, manifest_path
from edgekd_bench.record import BenchRecord, Row
from edgekd_bench.report_numbers import MISSING
from edgekd_bench.report_runs import Run

SHORT_HASH = 12
_ENDINGS = (".onnx", ".pt", ".engine")
_MAX_MANIFEST_BYTES = 4_000_000


@dataclass(frozen=True)
class Artefact:
    """One measured file; ``facts`` are ``(name, text)`` and empty where no manifest was found."""

    row: Row
    backends: str
    calibration: str
    facts: list[tuple[str, str]]


def artefacts(run: Run) -> list[Artefact]:
    """Every file of a run once, in the order of its rows."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in run.record.rows:
        rows.setdefault((row.model, row.sha256), []).append(row)
    manifests = find_manifests(run, {row.sha256 for row in run.record.rows})
    found = []
    for (_, digest), members in rows.items():
        manifest = manifests.get(digest)
        backends = ", ".join(dict.fromkeys(row.backend for row in members))
        found.append(
            Artefact(
                members[0],
                backends,
                _calibration(manifest.calibration) if manifest else MISSING,
                _facts(manifest) if manifest else [],
            )
        )
    return found


def find_manifests(run: Run, wanted: set[str]) -> dict[str, Manifest]:
    """Manifests of the files with the hashes ``wanted``, by hash.

    They are looked for in the run folder and beside the files its command line named.
    """
    found: dict[str, Manifest] = {}
    for path in _candidates(run):
        manifest = _read(path)
        if manifest is not None and manifest.sha256 in wanted:
            found[manifest.sha256] = manifest
    return found


def _candidates(run: Run) -> Iterable[Path]:
    if run.folder is not None:
        for ending in _ENDINGS:
            yield from sorted(run.folder.rglob(f"*{ending}.json"))
    for word in run.record.command:
        if word.endswith(_ENDINGS):
            yield manifest_path(Path(word))


def _read(path: Path) -> Manifest | None:
    """None for what is no manifest: the folder holds other people's JSON too."""
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            return None
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def _calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return MISSING
    method: str = calibration.method
    if calibration.percentile is not None:
        method += f" {calibration.percentile:g}"
    return f"{method} over {calibration.num_images} images of {calibration.source}"


def _engine(engine: EngineBuild) -> str:
    capability = engine.compute_capability
    fits = f"compute capability {capability}" if capability else "no GPU in particular"
    built_on = f", built on {engine.device}" if engine.device else ""
    return f"{engine.builder} {engine.version}, {engine.platform}, {fits}{built_on}"


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    """What the manifest adds to the record, one line each."""
    teacher = manifest.teacher
    facts = [
        ("SHA-256", manifest.sha256),
        ("licence", manifest.licence),
        ("teacher", f"{teacher}, SHA-256 {teacher.sha256}" if teacher else None),
        ("made for", manifest.target),
        ("engine", _engine(manifest.engine) if manifest.engine else None),
        ("calibration", _calibration(manifest.calibration) if manifest.calibration else None),
        ("layers kept float", _kept_float(manifest)),
        ("parity", manifest.parity + _figures(manifest.parity_figures)),
        ("versions", ", ".join(f"{name} {text}" for name, text in manifest.versions.items())),
        ("configuration hash", manifest.config_hash),
        *(
            (f"made from ({parent.role})", f"{parent.name}, SHA-256 {parent.sha256}")
            for parent in manifest.parents
        ),
    ]
    return [(name, text) for name, text in facts if text]


def _kept_float(manifest: Manifest) -> str:
    names = [decision.layer for decision in manifest.decisions if decision.precision == "float"]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _figures(figures: dict[str, float]) -> str:
    # Every cosine that passes is 1 to three digits; what is missing to 1 tells them apart.
    texts = [
        f"{name} 1 − {1 - value:.1e}" if name.endswith("_cosine") else f"{name} {value:.3g}"
        for name, value in figures.items()
    ]
    return f": {', '.join(texts)}" if texts else ""


def state_lines(record: BenchRecord) -> list[tuple[str, str, str]]:
    """Device state as ``(what, before, after)``; ``after`` is empty for what has only one value."""
    state = record.device_state
    before, after = (dict(flattened(state.get(key) or {})) for key in ("before", "after"))
    lines = [
        (key, before.get(key, MISSING), after.get(key, MISSING))
        for key in dict.fromkeys([*before, *after])
    ]
    rest = {key: value for key, value in state.items() if key not in ("before", "after")}
    return lines + [(key, text, "") for key, text in flattened(rest)]


def flattened(tree: object, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as ``(dotted key, text)`` pairs; lists of plain values become one line."""
    if isinstance(tree, dict):
        return [
            pair
            for key, value in tree.items()
            for pair in flattened(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        if any(isinstance(item, (dict, list)) for item in tree):
            return [p for i, item in enumerate(tree) for p in flattened(item, f"{prefix}[{i}]")]
        return [(prefix, ", ".join(map(str, tree)))]
    return [(prefix, "–" if tree is None else str(tree))]
