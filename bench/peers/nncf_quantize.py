"""Quantise an exported ONNX detector with NNCF, as its documentation shows for ONNX models.

    python nncf_quantize.py FP32_ONNX DATA OUT NUM_IMAGES

Mixed preset (asymmetric activations, as it advises for networks with SiLU), images of the train
split, and the detect head left float, as it advises for detectors; the head is found by structure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import onnx

from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.manifest import MANIFEST_KEY, parse_manifest
from edgekd_bench.samples import spread
from edgekd_bench.timing_inputs import prepare_inputs
from edgekd_export.head_structure import find_head
from edgekd_export.onnx_graph import INPUT_NAME, label


def main() -> None:
    """Quantise once; the metadata of the file is carried over, so that it runs like any other."""
    source, data, out, num_images = sys.argv[1:]
    graph = onnx.load(source)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    manifest = parse_manifest(metadata[MANIFEST_KEY], source)
    dataset = load_detection_set(Path(data), "train")
    paths = [dataset.images[index].path for index in spread(dataset, int(num_images))]
    images = prepare_inputs(paths, 1, {manifest.image_size}).tensors[manifest.image_size]
    head = find_head(graph.graph)
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(images, lambda batch: {INPUT_NAME: batch}),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=sorted(head.decoding | head.predictions)),
    )
    unjudged = {"precision": "int8", "parity": "n/a", "parity_figures": {}}
    label(quantized, manifest.model_copy(update=unjudged), batch=1)
    onnx.save(quantized, out)


if __name__ == "__main__":
    main()
