"""edgekd's export wing: a trained detector becomes a typed ONNX file that has proven itself.

Importing it loads neither torch nor onnx, because the command line and the configuration do so
before they know whether anything will be exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd_export.exporter import ExportResult, run
    from edgekd_export.settings import ExportSettings

__all__ = ["ExportResult", "ExportSettings", "run"]


def __getattr__(name: str) -> Any:
    if name == "ExportSettings":
        from edgekd_export.settings import ExportSettings

        return ExportSettings
    if name in ("ExportResult", "run"):
        from edgekd_export import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module 'edgekd_export' has no attribute '{name}'")
