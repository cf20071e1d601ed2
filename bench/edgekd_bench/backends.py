"""Which backends exist, what they run, where they run it, and which of them this machine has.

One file may run on several backends (an ``.onnx`` on ONNX Runtime and on OpenVINO), and a backend
may be missing or useless on a device. All of that is decided here, so that a benchmark can refuse
a hopeless combination before it opens anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from edgekd_bench.errors import InputError

Backend = Literal["onnxruntime", "onnxruntime-tensorrt", "openvino", "pytorch", "tensorrt"]
Device = Literal["cpu", "cuda", "intel-gpu"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

# The first of each is the one a file runs on where nobody says otherwise.
BACKENDS_OF_SUFFIX: dict[str, tuple[Backend, ...]] = {
    ".onnx": ("onnxruntime", "onnxruntime-tensorrt", "openvino"),
    ".pt": ("pytorch",),
    ".engine": ("tensorrt",),
}
_DEVICES: dict[Backend, tuple[Device, ...]] = {
    "onnxruntime": ("cpu", "cuda"),
    "onnxruntime-tensorrt": ("cuda",),
    "openvino": ("cpu", "intel-gpu"),
    "pytorch": ("cpu", "cuda"),
    "tensorrt": ("cuda",),
}
_ANY_OF: dict[Backend, tuple[tuple[str, ...], ...]] = {  # sets of modules, any of which will do
    "onnxruntime": (("onnxruntime",),),
    "onnxruntime-tensorrt": (("onnxruntime",),),
    "openvino": (("openvino",),),
    "pytorch": (("torch", "ultralytics"),),
    "tensorrt": (("tensorrt", "pycuda"), ("tensorrt_rtx", "pycuda")),
}


def backends_of(path: Path) -> tuple[Backend, ...]:
    """The backends that run a model file, by its suffix, the usual one first.

    Raises:
        InputError: no backend runs such files.
    """
    backends = BACKENDS_OF_SUFFIX.get(path.suffix.lower())
    if backends is None:
        kinds = ", ".join(BACKENDS_OF_SUFFIX)
        raise InputError(f"{path}: no backend runs '{path.suffix}' files; give one of: {kinds}")
    return backends


def choose_backend(path: Path, backend: str | None, device: Device) -> Backend:
    """The backend to open a file with: the one asked for, or the usual one.

    Raises:
        InputError: it does not run such files, or not on this device.
    """
    fitting = backends_of(path)
    if backend is None:
        backend = next((b for b in fitting if device in _DEVICES[b]), fitting[0])
    for known in fitting:
        if known == backend:
            check_device(path, known, device)
            return known
    raise InputError(
        f"{path}: a '{path.suffix}' file runs on {' or '.join(fitting)}, not on {backend}"
    )


def check_device(path: Path, backend: Backend, device: Device) -> None:
    """Refuse a device that a backend cannot use.

    Raises:
        InputError: with the devices it can use.
    """
    devices = _DEVICES[backend]
    if device not in devices:
        raise InputError(
            f"{path}: {backend} runs on {' or '.join(devices)}, not on {device}; "
            f"choose with --device or --backend"
        )


def choose_backends(
    names: Sequence[str], paths: Sequence[Path], device: Device
) -> tuple[Backend, ...]:
    """The backends of a benchmark: those that are named, else every one that the machine has.

    Where none is named, the usual backend of each file is always among them, even where it is not
    installed: its refusal says what to install, where leaving the file out would say nothing.

    Raises:
        InputError: no such backend, or a file that none runs.
    """
    unknown = [name for name in names if name not in BACKENDS]
    if unknown:
        raise InputError(f"--backend {unknown[0]}: there is none; give {' or '.join(BACKENDS)}")
    if names:
        return tuple(backend for backend in BACKENDS if backend in names)
    wanted: list[Backend] = []
    for path in paths:
        fitting = [b for b in backends_of(path) if device in _DEVICES[b]]
        usual = fitting[:1] or list(backends_of(path)[:1])
        wanted += usual + [b for b in fitting[1:] if is_installed(b)]
    return tuple(dict.fromkeys(wanted))


def is_installed(backend: Backend) -> bool:
    """Whether the backend's libraries are here; says nothing about a GPU."""
    found = any(all(_has(module) for module in modules) for modules in _ANY_OF[backend])
    if not found or backend != "onnxruntime-tensorrt":
        return found
    import onnxruntime

    return "TensorrtExecutionProvider" in onnxruntime.get_available_providers()


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a broken or half-removed package
        return False
