"""What the PyTorch model answers, stored, so that parity can be checked where there is no torch.

A device builds its own engine, and an engine that was never compared with the network it came
from is not to be trusted. So the machine that has the checkpoint stores the images of the parity
gate and the outputs of PyTorch; on the device `load_expected` gives them back as the reference of
`edgekd_export.parity.compare`. Only NumPy is needed, and nothing in the file is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekd_bench.errors import InputError
from edgekd_export.parity import Forward
from edgekd_export.parity_images import ParityImages

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]

FORMAT = "edgekd.expected.1"
_ARRAYS = ("header", "canvases", "outputs")


class ExpectedHeader(BaseModel):
    """What the stored outputs are and where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: str = FORMAT
    reference: str  # what computed them: "PyTorch 2.14.1, fp32, not fused"
    weights_sha256: str  # of the checkpoint
    end_to_end: bool  # which head: True (K, 6) boxes, False (4 + nc, A)
    source: str  # where the images came from, or "synthetic"
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredForward:
    """Looks up the stored output of each image; it knows no others."""

    where: str
    outputs: dict[bytes, Float32Array]  # by the image's own bytes: (4 + nc, A) or (K, 6)

    def __call__(self, batch: Float32Array) -> Float32Array:
        """(B, 3, S, S) in [0, 1] → (B, …), whatever the batch they were computed in.

        Raises:
            InputError: an image that is not among the stored ones.
        """
        return np.stack([self._output(image) for image in batch])

    def _output(self, image: Float32Array) -> Float32Array:
        canvas = (image.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        output = self.outputs.get(_key(canvas))
        if output is None:
            raise InputError(f"{self.where}: holds no outputs for this image; compare on its own")
        return output


def save_expected(
    path: Path,
    images: ParityImages,
    forward: Forward,
    *,
    end_to_end: bool,
    weights_sha256: str,
    reference: str,
    batch: int = 1,
) -> ExpectedHeader:
    """Run ``forward`` on every image and store images and outputs as one ``.npz``.

    Args:
        path: the file to write; it appears complete or not at all.
        images: letterboxed images; all are stored, 3·S² bytes each before compression.
        forward: the reference, normally `edgekd_export.parity.torch_forward`.
        end_to_end: which head ``forward`` answers with.
        weights_sha256: of the checkpoint behind ``forward``.
        reference: what ``forward`` is, for people.
        batch: images per call of ``forward``.

    Raises:
        InputError: the file cannot be written.
    """
    outputs = [forward(inputs)[:num_real] for inputs, num_real in images.batches(batch)]
    header = ExpectedHeader(
        reference=reference,
        weights_sha256=weights_sha256,
        end_to_end=end_to_end,
        source=images.source,
        broken=images.broken,
    )
    _write(path, header, np.stack(images.canvases), np.concatenate(outputs))
    return header


def load_expected(path: Path) -> tuple[ParityImages, Forward]:
    """The stored images, and a forward that answers with the stored outputs.

    Raises:
        InputError: missing, damaged, or not written by `save_expected`.
    """
    arrays = _read(path)
    header = _parse_header(arrays["header"], path)
    canvases, outputs = arrays["canvases"], arrays["outputs"]
    if canvases.ndim != 4 or len(canvases) != len(outputs) or not len(canvases):
        raise InputError(f"{path}: {len(outputs)} outputs for {len(canvases)} images; export again")
    by_image = {
        _key(canvas): output.astype(np.float32, copy=False)
        for canvas, output in zip(canvases, outputs, strict=True)
    }
    images = ParityImages(tuple(canvases), header.source, header.broken)
    return images, StoredForward(str(path), by_image)


def read_expected_header(path: Path) -> ExpectedHeader:
    """What the file is, without its images and outputs.

    Raises:
        InputError: missing, damaged, or not written by `save_expected`.
    """
    return _parse_header(_read(path, ("header",))["header"], path)


def _key(canvas: UInt8Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(canvas).tobytes()).digest()


def _write(path: Path, header: ExpectedHeader, canvases: UInt8Array, outputs: Float32Array) -> None:
    text = np.frombuffer(header.model_dump_json().encode(), np.uint8)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            np.savez_compressed(stream, header=text, canvases=canvases, outputs=outputs)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free space or give another "
            "place"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path, wanted: tuple[str, ...] = _ARRAYS) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise InputError(f"{path}: no expected outputs there; pack the bundle again")
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_array(archive, name) for name in wanted}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: damaged, or no expected outputs of edgekd ({reason}); pack the bundle again"
        ) from error


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _parse_header(raw: npt.NDArray[Any], path: Path) -> ExpectedHeader:
    try:
        header = ExpectedHeader.model_validate(json.loads(raw.tobytes()))
    except (ValueError, ValidationError) as error:
        raise InputError(f"{path}: its header cannot be read; pack the bundle again") from error
    if header.format != FORMAT:
        raise InputError(f"{path}: format '{header.format}', this edgekd reads '{FORMAT}'")
    return header
