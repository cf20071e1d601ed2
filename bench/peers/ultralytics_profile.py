"""Ultralytics' ``ProfileModels``, from outside and as its documentation shows it.

    python ultralytics_profile.py ONNX IMAGE_SIZE MIN_SECONDS
    python ultralytics_profile.py --clip TIMES

The first form profiles a file. The second feeds known times, a file with a JSON list of
milliseconds, to the clipping that `ProfileModels` applies to its own before it takes their mean.
The last line printed is JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.utils.benchmarks import ProfileModels

CLIPPING = {"sigma": 2, "max_iters": 5}  # what `profile_onnx_model` gives it


def profile(onnx: str, image_size: str, min_seconds: str) -> dict[str, float]:
    """Milliseconds of one file as `ProfileModels` returns them."""
    profiler = ProfileModels(
        [onnx], imgsz=int(image_size), min_time=float(min_seconds), trt=False, device="cpu"
    )
    (result,) = profiler.run()
    return {"milliseconds": float(result["model/speed_ONNX(ms)"])}


def clip(times: str) -> dict[str, Any]:
    """What is left of known times."""
    milliseconds = json.loads(Path(times).read_text(encoding="utf-8"))
    kept = ProfileModels.iterative_sigma_clipping(np.array(milliseconds), **CLIPPING)
    return {"given": milliseconds, "num_kept": len(kept), "mean": float(np.mean(kept))}


def main() -> None:
    """Do what the command line asks, and print it."""
    first, *rest = sys.argv[1:]
    print(json.dumps(clip(*rest) if first == "--clip" else profile(first, *rest)))


if __name__ == "__main__":
    main()
