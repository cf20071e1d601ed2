"""LightlyTrain's ``benchmark_object_detection`` around an ONNX file that is not its own.

    python lightly/benchmark.py ONNX DATA IMAGE_SIZE OUT [--workers N]
    python lightly/benchmark.py --as-given FILE DATA OUT

LightlyTrain measures its own models only, so the first form wraps the file in the class it expects:
the graph is untouched but for its output, which gets the two names that LightlyTrain reads. Loader,
clock and statistics are LightlyTrain's, with its defaults. Its mAP is left out: this adapter
decodes the boxes, so it would say nothing about LightlyTrain. The second form hands the file over
as it is. Run it with an interpreter that has lightly-train; edgekd is not needed there. It has a
folder of its own so that no script beside it can be taken for the library.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightly_train
import onnx
import torch
import yaml
from lightly_train._task_models.task_model import TaskModel

_CONF = 0.25
_MAX_DET = 100


class GivenDetector(TaskModel):
    """An exported detector with one output (B, 4 + nc, A): boxes in pixels, then scores."""

    model_suffix = "given"

    def __init__(self, source: str, image_size: tuple[int, int], image_normalize: None) -> None:
        super().__init__(locals())
        self.source, self.side = source, image_size[0]

    def export_onnx(self, out: Path, **_: Any) -> None:
        """The given graph under the names that are asked for: 'logits' and 'boxes'."""
        model = onnx.load(self.source)
        (output,) = model.graph.output
        model.graph.node.append(onnx.helper.make_node("Identity", [output.name], ["logits"]))
        model.graph.node.append(onnx.helper.make_node("Identity", [output.name], ["boxes"]))
        for name in ("logits", "boxes"):
            twin = model.graph.output.add()
            twin.CopyFrom(output)
            twin.name = name
        del model.graph.output[0]
        onnx.save(model, out)

    def postprocess(
        self,
        raw_outputs: dict[str, torch.Tensor],
        metadata: Sequence[dict[str, Any]],
        threshold: float = 0.0,
        **_: Any,
    ) -> list[Any]:
        """The best boxes of each image, in the form that its metric takes."""
        found = []
        for output, image in zip(raw_outputs["pred_logits"], metadata, strict=True):  # (4 + nc, A)
            scores, labels = output[4:].max(dim=0)
            best = scores.topk(min(_MAX_DET, len(scores))).indices
            best = best[scores[best] > max(threshold, _CONF)]
            x, y, w, h = output[:4, best]
            boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)
            boxes *= torch.tensor([image["orig_w"], image["orig_h"]] * 2) / self.side
            found.append({"bboxes": boxes, "scores": scores[best], "labels": labels[best]})
        return found


def main() -> None:
    """Benchmark and print what was returned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("image_size", type=int, nargs="?", default=0)
    parser.add_argument("out")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--as-given", action="store_true")
    options = parser.parse_args()
    side = (options.image_size, options.image_size)
    model = options.model if options.as_given else GivenDetector(options.model, side, None)
    more = {} if options.workers is None else {"num_workers": options.workers}
    result = lightly_train.benchmark_object_detection(
        out=options.out,
        dataset_name="val",
        data=yaml.safe_load(options.data.read_text()),
        model=model,
        device="cpu",
        backend_args={"format": "onnx"},
        **more,
    )
    latency = result.timing.statistics.latency_image_s
    print(json.dumps({name: value * 1000 for name, value in latency.model_dump().items()}))


if __name__ == "__main__":
    main()
