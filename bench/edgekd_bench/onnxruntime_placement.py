"""On which processor ONNX Runtime really ran each node of a network.

Asked for a GPU, ONNX Runtime runs on the CPU whatever the GPU's provider has no kernel for, and
says so only in its log. Its profile names the provider of every node that ran, so one profiled call
tells. Nodes that compute shapes are put on the CPU on purpose and cost nothing; they are told from
the others by what they put out: a few integers, no image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CPU = "CPUExecutionProvider"
_SHAPE_TYPES = frozenset({"int64", "int32", "bool"})
_SHAPE_ELEMENTS = 64  # a shape has a handful of numbers, the smallest feature map far more
_MAX_NAMED = 3


def read_profile(path: Path) -> list[Mapping[str, Any]]:
    """The events of a profile that ONNX Runtime wrote."""
    events: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return events


def nodes_on_cpu(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the nodes that computed on the CPU and not only shapes."""
    return [
        _name(event)
        for event in events
        if _provider(event) == _CPU and not _computes_shapes(event["args"])
    ]


def nodes_on(events: Iterable[Mapping[str, Any]], provider: str) -> list[str]:
    """Names of the nodes that a provider ran."""
    return [_name(event) for event in events if _provider(event) == provider]


def name_some(nodes: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(nodes) - _MAX_NAMED
    return ", ".join(nodes[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(event: Mapping[str, Any]) -> str:
    return str(event["name"]).removesuffix("_kernel_time")


def _provider(event: Mapping[str, Any]) -> str | None:
    if event.get("cat") != "Node":
        return None
    provider = event.get("args", {}).get("provider")
    return str(provider) if provider else None


def _computes_shapes(arguments: Mapping[str, Any]) -> bool:
    """Whether all outputs are few and whole numbers."""
    outputs = arguments.get("output_type_shape", [])
    pairs = [pair for output in outputs for pair in output.items()]
    return bool(pairs) and all(
        kind in _SHAPE_TYPES and _count(shape) <= _SHAPE_ELEMENTS for kind, shape in pairs
    )


def _count(shape: Iterable[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
