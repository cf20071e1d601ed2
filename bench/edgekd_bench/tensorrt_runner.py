"""Run a TensorRT (or TensorRT-RTX) engine through pycuda.

Neither library is imported before an engine is opened. An engine that does not fit the machine is
refused before TensorRT sees it: its own answer to a wrong engine is a riddle. See `tensorrt_lane`
for what one call consists of.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgekd_bench.cuda_graph import load_driver
from edgekd_bench.detections import check_output
from edgekd_bench.engine_fit import (
    ENGINE_MODULES,
    EngineBuilder,
    check_engine_fits,
    this_machine,
)
from edgekd_bench.engine_header import read_engine
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import Manifest
from edgekd_bench.opened_model import InputLayout, check_input, describe
from edgekd_bench.runner import Float32Array, Runner, RunnerInfo, RunnerOptions, Timed
from edgekd_bench.tensorrt_engine import CudaTools, EngineError, LoadedEngine
from edgekd_bench.tensorrt_lane import Lane

_MAX_LANES = 2  # one computes while the other copies; a third would have nothing left to overlap


class TensorRtRunner(Runner):
    """An engine and up to two lanes through it."""

    def __init__(self, engine: LoadedEngine, first: Lane, info: RunnerInfo) -> None:
        self._engine = engine
        self._lanes = [first]
        self._may_add = True
        self._info = info

    @property
    def info(self) -> RunnerInfo:
        return self._info

    def forward(self, batch: Float32Array) -> Float32Array:
        return self.forward_timed(batch).output

    def forward_timed(self, batch: Float32Array) -> Timed:
        self._lanes[0].submit(batch)
        return self._lanes[0].collect()

    def forward_all(self, batches: Sequence[Float32Array]) -> list[Float32Array]:
        lanes = self._all_lanes()
        outputs: list[Float32Array] = []
        under_way: deque[Lane] = deque()
        for index, batch in enumerate(batches):
            if len(under_way) == len(lanes):
                outputs.append(under_way.popleft().collect().output)
            lanes[index % len(lanes)].submit(batch)
            under_way.append(lanes[index % len(lanes)])
        return outputs + [lane.collect().output for lane in under_way]

    @property
    def in_flight(self) -> int:
        return len(self._all_lanes())

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()
        self._lanes = []
        self._engine.close()

    def _all_lanes(self) -> list[Lane]:
        """The second lane is made at first use; where it does not fit, one must do."""
        while self._may_add and len(self._lanes) < _MAX_LANES:
            try:
                self._lanes.append(Lane(self._engine, self._lanes[0].shape))
            except (EngineError, self._engine.tools.cuda.Error):
                self._may_add = False
                break
            self._lanes[-1].warm_up()
        return self._lanes


def open_tensorrt(path: Path, options: RunnerOptions) -> Runner:
    """Open an engine that edgekd or Ultralytics built.

    Raises:
        InputError: it does not fit this machine, its shape is not the one asked for, or there is
            neither a manifest nor Ultralytics' metadata.
    """
    manifest, content = read_engine(path)
    trt = _import_builder(path, manifest)
    tools = CudaTools(trt, _import_pycuda(path), load_driver() if options.cuda_graph else None)
    with ExitStack() as stack:
        try:
            engine = LoadedEngine(tools, manifest, content)
            stack.callback(engine.close)
            layout = _layout(path, engine, manifest, options)
            lane = Lane(engine, layout.shape)
            stack.callback(lane.close)
            start = time.perf_counter()
            output = lane.warm_up()
            first_call_ms = (time.perf_counter() - start) * 1e3
        except (EngineError, tools.cuda.Error) as error:
            raise InputError(f"{path}: {' '.join(str(error).split())}") from error
        info = describe(
            path,
            manifest,
            backend="tensorrt",
            device=engine.device_name,
            layout=layout,
            end_to_end=check_output(output, len(manifest.names), path),
            first_call_ms=first_call_ms,
            notes=_notes(options, lane),
        )
        stack.pop_all()
    return TensorRtRunner(engine, lane, info)


def _import_builder(path: Path, manifest: Manifest) -> Any:
    """The library an engine was built by, once it is known to fit.

    Raises:
        InputError: not installed, or the engine is for another version, GPU or platform.
    """
    builder: EngineBuilder = manifest.engine.builder if manifest.engine else "tensorrt"
    try:
        trt = import_module(ENGINE_MODULES[builder])
    except ImportError:
        trt = None
    machine = this_machine(builder, getattr(trt, "__version__", None))
    if manifest.engine is not None:
        check_engine_fits(path, manifest, machine)
    elif machine.version is None or machine.compute_capability is None:
        raise InputError(
            f"{path}: an engine needs TensorRT and an NVIDIA GPU; this machine has {machine}"
        )
    return trt


def _import_pycuda(path: Path) -> Any:
    try:
        return import_module("pycuda.driver")
    except ImportError as error:
        raise InputError(
            f"{path}: running an engine needs pycuda ({error}); pip install 'edgekd[trt]'"
        ) from error


def _layout(
    path: Path, engine: LoadedEngine, manifest: Manifest, options: RunnerOptions
) -> InputLayout:
    name = engine.tensors.input
    dtype = engine.dtype_of(name)
    if dtype not in (np.float32, np.float16):
        raise EngineError("input is not one float image batch (B, 3, S, S)")
    shape = [size if size >= 0 else None for size in engine.engine.get_tensor_shape(name)]
    return check_input(path, shape, dtype, manifest, options)


def _notes(options: RunnerOptions, lane: Lane) -> list[str]:
    if lane.has_graph or not options.cuda_graph:
        return []
    return ["no CUDA graph could be captured: kernels were launched one by one"]
