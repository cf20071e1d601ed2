"""Which TensorRT is here and what it can do, found by looking and never by its version.

Between 10.3 and 11 and in TensorRT for RTX symbols came and went. Code that asks a version number
is wrong on the next release; code that asks ``hasattr`` once, here, is not. What all of them share
is a typed network in and a serialised engine out, and only that is used: calibrators, precision
flags and ``platform_has_fast_*`` are gone from 11 and are never touched.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from edgekd_bench.engine_fit import ENGINE_MODULES, PRODUCT_NAMES, EngineBuilder
from edgekd_bench.errors import InputError

_INSTALL: dict[EngineBuilder, str] = {
    "tensorrt": "on a Jetson it comes with JetPack, elsewhere: pip install 'edgekd[trt]'",
    "tensorrt-rtx": "pip install 'edgekd[rtx]'",
}


@dataclass(frozen=True)
class TensorRTApi:
    """One importable TensorRT."""

    module: Any
    builder: EngineBuilder

    @property
    def version(self) -> str:
        """As the library reports it: '10.3.0', '1.7.1.116'."""
        return str(self.module.__version__)

    @property
    def title(self) -> str:
        """Name and version, for messages."""
        return f"{PRODUCT_NAMES[self.builder]} {self.version}"

    @property
    def builds_without_gpu(self) -> bool:
        """Whether the compute capability to build for can be chosen (TensorRT for RTX)."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def compute_capabilities(self) -> list[str]:
        """What it can build for without that GPU: ['7.5', '8.0', …]."""
        names = dir(getattr(self.module, "ComputeCapability", object))
        digits = sorted((n[2:] for n in names if n.startswith("SM") and n[2:].isdigit()), key=int)
        return [f"{text[:-1]}.{text[-1]}" for text in digits]

    @property
    def network_flags(self) -> int:
        """Flags for ``create_network``: strongly typed, where that has to be asked for.

        ``EXPLICIT_BATCH`` is never needed: every TensorRT that knows typed networks has dropped
        implicit batches.

        Raises:
            InputError: the library can only choose types by itself (TensorRT 8).
        """
        flags = self.module.NetworkDefinitionCreationFlag
        if hasattr(flags, "STRONGLY_TYPED"):
            return 1 << int(flags.STRONGLY_TYPED)
        if hasattr(self.module.BuilderFlag, "FP16"):
            raise InputError(
                f"{self.title} has no typed networks; edgekd needs TensorRT 10.3 or later "
                "(JetPack 6.1 or later)"
            )
        return 0  # typed without asking


def load_api(builder: EngineBuilder) -> TensorRTApi:
    """Import a TensorRT.

    Raises:
        InputError: it is not installed, or its libraries do not load.
    """
    try:
        return TensorRTApi(importlib.import_module(ENGINE_MODULES[builder]), builder)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{PRODUCT_NAMES[builder]} cannot be imported ({reason}); {_INSTALL[builder]}"
        ) from error


def is_importable(builder: EngineBuilder) -> bool:
    """Whether the package is there; says nothing about its libraries or a GPU."""
    return importlib.util.find_spec(ENGINE_MODULES[builder]) is not None
