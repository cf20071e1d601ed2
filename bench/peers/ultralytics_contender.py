"""``YOLO("model.onnx").predict``, as a contender that takes turns (`edgekd_bench.process_turns`).

    python ultralytics_contender.py MODEL IMAGE_SIZE IMAGES…

Ultralytics is driven from outside, as its documentation shows: a path in, boxes out, its own
defaults for everything but the size of the image, and its progress line switched off. It is timed
from the path of a file to boxes in its pixels.
"""

from __future__ import annotations

import sys

from edgekd_bench.process_turns import answer_turns, own_channel
from edgekd_bench.ultralytics_setup import prepare_ultralytics


def main() -> None:
    """Load the model and take turns until nobody asks any more."""
    channel = own_channel()
    model, image_size, *images = sys.argv[1:]
    prepare_ultralytics()
    from ultralytics import YOLO

    detector = YOLO(model, task="detect")

    def predict(number: int) -> object:
        image = images[number % len(images)]
        return detector.predict(image, imgsz=int(image_size), device="cpu", verbose=False)

    answer_turns(predict, {"backend": "Ultralytics predict"}, channel=channel)


if __name__ == "__main__":
    main()
