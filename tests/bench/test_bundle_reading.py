"""Bundles as a device meets them: whole, damaged, tampered with, too old, and measured."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.bundle_fixture import describe, pack, write_bundle
from bench.conftest import TinyModels

import edgekd_bench
from edgekd_bench import bundle_inputs
from edgekd_bench.bundle import is_bundle, open_bundle
from edgekd_bench.bundle_inputs import resolve_inputs
from edgekd_bench.cuda_driver import CudaGpu
from edgekd_bench.errors import InputError
from edgekd_bench.settings import BenchSettings

QUICK = BenchSettings(
    min_seconds=0, min_count=2, warmup=1, bootstrap=200, num_latency_images=2, threads=1
)


@pytest.fixture
def bundle(tiny_models: TinyModels, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "ours.bundle", tiny_models.onnx)


def refused(path: Path, *expected: str) -> str:
    """The one line with which a bundle is refused."""
    with pytest.raises(InputError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for part in expected:
        assert part in message
    return message


def test_a_whole_bundle_opens(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.folder == bundle
    assert opened.data == bundle / "evaluation/data.yaml"
    assert opened.measurable("candidate") == [bundle / "models/ours.fp32.onnx"]
    assert opened.measurable("baseline") == [bundle / "models/theirs.fp32.onnx"]


def test_engines_in_it_are_found_beside_what_was_packed(bundle: Path) -> None:
    engines = [bundle / f"engines/ours.fp32{kind}.engine" for kind in ("", ".rtx")]
    engines[0].parent.mkdir()
    for engine in (*engines, bundle / "engines/ours.fp32.parity-failed.engine"):
        engine.write_bytes(b"built here")
    assert open_bundle(bundle).measurable("candidate")[1:] == engines


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])),
    ],
    ids=["cut short", "one bit"],
)
@pytest.mark.parametrize("name", ["models/ours.fp32.onnx", "ours.npz", "evaluation/data.yaml"])
def test_a_changed_file_is_named(bundle: Path, name: str, change: Callable[[Path], int]) -> None:
    change(bundle / name)
    refused(bundle, name, "SHA-256", "copy the bundle again")


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "models/theirs.fp32.onnx").unlink()
    refused(bundle, "models/theirs.fp32.onnx is missing")


def test_a_file_that_is_used_but_not_listed_is_refused(bundle: Path) -> None:
    (bundle / "ours.npz").unlink()
    describe(bundle)
    refused(bundle, "ours.npz", "does not list it")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "bundle format None"),
        ('{"format_version": 2, "edgekd": "0.9.1"}', "0.9.1"),
        ('{"format_version": 1}', "name"),
        ('{"format_version": 1, "name": "x", "surprise": 1}', "pack the bundle again"),
    ],
)
def test_a_description_that_cannot_be_read_is_one_line(
    bundle: Path, content: str, expected: str
) -> None:
    (bundle / "bundle.json").write_text(content)
    refused(bundle, expected)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "models/../../x", "a\\..\\b", ""])
def test_a_description_cannot_point_out_of_the_bundle(bundle: Path, path: str) -> None:
    describe(bundle, files=[{"path": path, "sha256": "ab", "size": 1}])
    refused(bundle, "inside the bundle")


def test_what_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    assert is_bundle(bundle)
    assert is_bundle(tmp_path / "x.bundle.tar")
    assert not is_bundle(tmp_path)
    assert not is_bundle(bundle / "models/ours.fp32.onnx")
    (tmp_path / "half.bundle").mkdir()
    assert is_bundle(tmp_path / "half.bundle")  # and is then refused as one
    refused(tmp_path / "half.bundle", "no bundle.json")
    refused(tmp_path / "gone.bundle", "no such bundle")


def test_a_tar_is_unpacked_once_and_recognised_again(bundle: Path, tmp_path: Path) -> None:
    archive = pack(bundle, tmp_path / "sent.tar")
    opened = open_bundle(archive)
    assert opened.folder == tmp_path / "sent"
    (opened.folder / "engines").mkdir()  # what the device adds survives
    assert open_bundle(archive).folder == opened.folder
    assert (opened.folder / "engines").is_dir()


def test_a_tar_does_not_replace_another_bundle(bundle: Path, tmp_path: Path) -> None:
    archive = pack(bundle, tmp_path / "sent.tar")
    shutil.copytree(bundle, tmp_path / "sent")
    describe(tmp_path / "sent", name="another")
    refused(archive, "is not this bundle")


def test_a_damaged_unpacked_bundle_is_noticed_through_its_tar(bundle: Path, tmp_path: Path) -> None:
    archive = pack(bundle, tmp_path / "sent.tar")
    (open_bundle(archive).folder / "ours.npz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"ours\.npz"):
        open_bundle(archive)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_a_truncated_tar_leaves_nothing(bundle: Path, tmp_path: Path, share: float) -> None:
    archive = pack(bundle, tmp_path / "sent.tar")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    refused(archive)
    assert {path.name for path in tmp_path.iterdir()} == {"ours.bundle", "sent.tar"}


def test_no_tar_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"PK\x03\x04" * 300)
    refused(tmp_path / "x.tar", "not a whole tar")
    (tmp_path / "y.tar").write_bytes(b"")
    refused(tmp_path / "y.tar")


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("../escaped", tarfile.REGTYPE, "outside"),
        ("ours.bundle/../../escaped", tarfile.REGTYPE, "outside"),
        ("/escaped", tarfile.REGTYPE, "outside"),
        ("ours.bundle/link", tarfile.SYMTYPE, "link or device"),
        ("ours.bundle/hard", tarfile.LNKTYPE, "link or device"),
        ("ours.bundle/fifo", tarfile.FIFOTYPE, "link or device"),
        ("second/file", tarfile.REGTYPE, "exactly one folder"),
    ],
)
def test_an_unsafe_tar_writes_nothing(
    bundle: Path, tmp_path: Path, name: str, kind: bytes, expected: str
) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    archive = pack(bundle, folder / "sent.tar")
    with tarfile.open(archive, "a") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0
        tar.addfile(entry, io.BytesIO())
    refused(archive, expected)
    assert [path.name for path in folder.iterdir()] == ["sent.tar"]
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_no_space_or_no_permission(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    archive = pack(bundle, tmp_path / "sent.tar")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tarfile.TarFile, "extractall", fail)
    refused(archive, os.strerror(code))
    assert {path.name for path in tmp_path.iterdir()} == {"ours.bundle", "sent.tar"}


def test_a_bundle_stands_for_its_models_and_brings_its_images(bundle: Path) -> None:
    inputs = resolve_inputs([bundle], [], None)
    assert [path.name for path in inputs.models] == ["ours.fp32.onnx"]
    assert [path.name for path in inputs.baselines] == ["theirs.fp32.onnx"]
    assert inputs.data == bundle / "evaluation/data.yaml"
    (note,) = inputs.notes
    assert "3 of 100 images" in note


def test_engines_are_measured_where_there_is_a_gpu(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = bundle / "engines/ours.fp32.engine"
    engine.parent.mkdir()
    engine.write_bytes(b"built elsewhere")
    monkeypatch.setattr(bundle_inputs, "find_gpu", lambda: None)
    without = resolve_inputs([bundle], [], None)
    assert engine not in without.models
    assert "1 engines left out" in without.notes[0]
    assert engine in resolve_inputs([engine], [], bundle).models  # asked for by name
    monkeypatch.setattr(bundle_inputs, "find_gpu", lambda: CudaGpu("Orin", "8.7", 8.0))
    assert engine in resolve_inputs([bundle], [], None).models


def test_other_files_and_other_data_mix_with_a_bundle(bundle: Path, tmp_path: Path) -> None:
    more, data = tmp_path / "more.onnx", tmp_path / "data.yaml"
    inputs = resolve_inputs([more], [bundle], data)
    assert inputs.models == [more]
    assert [path.name for path in inputs.baselines] == ["ours.fp32.onnx"]
    assert (inputs.data, inputs.notes) == (data, ())


def test_without_data_something_must_bring_images(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data"):
        resolve_inputs([tmp_path / "a.onnx"], [], None)
    other = shutil.copytree(bundle, tmp_path / "other.bundle")
    text = (other / "bundle.json").read_text()
    (other / "bundle.json").write_text(re.sub('"content_hash": "ab"', '"content_hash": "cd"', text))
    with pytest.raises(InputError, match="different images"):
        resolve_inputs([bundle, other], [], None)


def test_a_bundle_is_measured_with_what_is_in_it(bundle: Path, tmp_path: Path) -> None:
    inputs = resolve_inputs([bundle], [], None)
    record = edgekd_bench.run(
        inputs.models,
        baselines=inputs.baselines,
        data=inputs.data,
        settings=QUICK,
        out=tmp_path / "out",
    )
    onnx = [row for row in record.rows if row.backend == "onnxruntime"]
    assert [row.init for row in onnx] == ["baseline", "distilled"]
    assert record.data["num_images"] == 3
    assert record.verdict.comparisons
