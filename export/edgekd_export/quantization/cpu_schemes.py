"""How int8 is laid out for the two runtimes that compute it on a CPU.

Both want unsigned activations with a zero point: SiLU ends at -0.28, so a signed, symmetric range
leaves nearly half of its steps unused, and OpenVINO 2026.4 computes signed ranges around a Concat
wrongly. In all else they differ, and a file made for one is slow on the other. `docs/export.md` has
the figures of every layout that was tried.

- ONNX Runtime fuses a layer with the pairs before *and* after it, and only then runs it in int8;
  the SiLU in between is a table and a product in int8. A region without gaps is what pays.
- OpenVINO fuses a convolution, its SiLU and the next layer's Q into one kernel by itself. A pair
  between convolution and SiLU would split it, so only what layers read is quantised.

Sources: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html,
https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
"""

from __future__ import annotations

from onnxruntime.quantization import QuantType

from edgekd_export.quantization.int8_regions import REGION_OPERATORS
from edgekd_export.quantization.quantize_dequantize import TENSORRT, Scheme
from edgekd_export.settings import Int8Backend

ONNXRUNTIME = Scheme(
    activation_type=QuantType.QUInt8,
    symmetric_activations=False,
    quantized_bias=True,
    quantized_outputs=True,
    half_float_layers=False,
    operators=REGION_OPERATORS,
)
OPENVINO = Scheme(
    activation_type=QuantType.QUInt8,
    symmetric_activations=False,
    quantized_bias=False,
    quantized_outputs=False,
    half_float_layers=False,
)
SCHEMES: dict[Int8Backend, Scheme] = {
    "tensorrt": TENSORRT,
    "onnxruntime": ONNXRUNTIME,
    "openvino": OPENVINO,
}
