"""Export a checkpoint to ONNX with Ultralytics, from outside, as its documentation shows.

    python ultralytics_export.py WEIGHTS IMAGE_SIZE OPSET

The file is written beside the weights, where Ultralytics wants it; its path is the last line.
"""

from __future__ import annotations

import sys

from edgekd_bench.ultralytics_setup import prepare_ultralytics


def main() -> None:
    """Export once."""
    weights, image_size, opset = sys.argv[1:]
    prepare_ultralytics()
    from ultralytics import YOLO

    written = YOLO(weights).export(
        format="onnx", imgsz=int(image_size), opset=int(opset), simplify=True, device="cpu"
    )
    print(written)


if __name__ == "__main__":
    main()
