"""What a file of edgekd is: everything it and its manifest say, without running it.

Files travel alone: by mail, on a stick, into a folder called ``final2``. Whoever gets one wants to
know what it is, what it was made from, under which licence, and whether it will run here, on a
machine that may have neither torch nor onnx. `inspect` finds that out, `describe` shows it.
"""

from edgekd_bench.inspection.findings import Inspection
from edgekd_bench.inspection.reading import inspect
from edgekd_bench.inspection.text import describe

__all__ = ["Inspection", "describe", "inspect"]
