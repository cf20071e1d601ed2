"""Make the first run of every ONNX Runtime session slow, in whatever program Python starts.

Python imports a module of this name at its start wherever this folder is in ``PYTHONPATH``. It
stands for all that happens once: kernels compiled, engines built, pages read from disk.
``EDGEKD_SLOW_FIRST_RUN_S`` says how many seconds that takes; without it nothing is changed.
"""

from __future__ import annotations

import os
import time
from typing import Any

_SECONDS = float(os.environ.get("EDGEKD_SLOW_FIRST_RUN_S", "0"))


def _slow_once(plain: Any) -> Any:
    def run(session: Any, *arguments: Any, **options: Any) -> Any:
        if not getattr(session, "_has_run", False):
            session._has_run = True
            time.sleep(_SECONDS)
        return plain(session, *arguments, **options)

    return run


if _SECONDS > 0:
    import onnxruntime

    for _name in ("run", "run_with_iobinding"):
        _plain = getattr(onnxruntime.InferenceSession, _name)
        setattr(onnxruntime.InferenceSession, _name, _slow_once(_plain))
