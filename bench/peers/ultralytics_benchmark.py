"""Ultralytics' ``benchmark``, from outside and as its documentation shows it.

    python ultralytics_benchmark.py WEIGHTS DATA IMAGE_SIZE FORMAT…

FORMAT is Ultralytics' own name for a row: ``-`` is PyTorch, ``onnx`` ONNX. Ultralytics is imported
first and alone, as anybody does who follows its page: what the import sets is part of the peer. The
last line printed is what `benchmark` returned, as JSON; all before it is Ultralytics' own output.
"""

from __future__ import annotations

import json
import sys

from ultralytics.utils.benchmarks import benchmark


def main() -> None:
    """Benchmark each format and print the rows that were returned."""
    weights, data, image_size, *formats = sys.argv[1:]
    rows = []
    for name in formats:
        options = {"imgsz": int(image_size), "device": "cpu", "format": name, "opset": 17}
        rows += benchmark(model=weights, data=data, **options).to_dicts()
    import torch

    print(json.dumps({"rows": rows, "torch_threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
