"""TensorRT engines from typed ONNX files, with TensorRT 10.3 to 11 and TensorRT for RTX.

Importing it loads neither TensorRT nor torch nor onnx: the package is also what builds on a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd_export.tensorrt.builder import EngineCheck, EngineResult, build_engine
    from edgekd_export.tensorrt.engine_manifest import read_onnx_source
    from edgekd_export.tensorrt.plan import plan_build
    from edgekd_export.tensorrt.settings import TensorRTSettings

_HOMES = {
    "EngineCheck": "builder",
    "EngineResult": "builder",
    "build_engine": "builder",
    "plan_build": "plan",
    "read_onnx_source": "engine_manifest",
    "TensorRTSettings": "settings",
}
__all__ = [
    "EngineCheck",
    "EngineResult",
    "TensorRTSettings",
    "build_engine",
    "plan_build",
    "read_onnx_source",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekd_export.tensorrt' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"edgekd_export.tensorrt.{_HOMES[name]}"), name)
