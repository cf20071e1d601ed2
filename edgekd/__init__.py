"""edgekd: from a heavy vision foundation model to a small detector on an edge device.

Importing this package costs nothing: the stages (`edgekd.distill`, `edgekd.train`, …) load torch
and Ultralytics when they are first touched.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"
_STAGES = {
    "config": "edgekd.config",
    "distill": "edgekd.distill",
    "train": "edgekd.train",
    "export": "edgekd_export",
    "bench": "edgekd_bench",
    "report": "edgekd_bench.report",
    "pipeline": "edgekd.pipeline",
    "study": "edgekd.study",
    "suggest": "edgekd.suggest",
    "doctor": "edgekd.doctor",
}


def __getattr__(name: str) -> ModuleType:
    if name in _STAGES:
        return importlib.import_module(_STAGES[name])
    raise AttributeError(f"module 'edgekd' has no attribute {name!r}")
