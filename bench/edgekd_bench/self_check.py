"""The same model as A and as B: a harness that sees a difference there would see one anywhere.

The first model of a backend is opened twice, and the second instance takes its turns among the
others. It is a model of its own to everything that could favour one of two models: where its memory
lies, when it was opened, who runs before it. Calling one instance twice would share all of that and
find the order of turns alone. Two such instances were seen 1.9 % apart in a process that had
trained, and within 1 % in fresh ones; hence the tolerance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from edgekd_bench.latency_ratio import latency_ratio
from edgekd_bench.record import SelfCheck

TOLERANCE = 0.01


def judge_twins(
    model: str,
    backend: str,
    first_ms: npt.NDArray[np.float64],
    twin_ms: npt.NDArray[np.float64],
) -> SelfCheck:
    """Compare the two instances as two models would be compared.

    Args:
        model: its name.
        backend: where it ran.
        first_ms: (n,) host clock of the instance that its row reports.
        twin_ms: (n,) host clock of the other, of the same rounds.
    """
    ratio = latency_ratio([first_ms], [twin_ms])
    passed = ratio.low <= 1 + TOLERANCE and ratio.high >= 1 - TOLERANCE
    return SelfCheck(
        model=model,
        backend=backend,
        latency_p50_ratio=ratio,
        tolerance=TOLERANCE,
        passed=passed,
    )


def doubt_about(backends: Collection[str], checks: Sequence[SelfCheck]) -> str:
    """Why latencies on these backends decide nothing, half a sentence; "": they may decide."""
    failed = [check.backend for check in checks if check.backend in backends and not check.passed]
    return f"the self-check failed on {' and '.join(failed)}" if failed else ""


def describe_check(check: SelfCheck) -> str:
    """One line for people."""
    ratio = check.latency_p50_ratio
    figures = f"p50 ratio {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    verdict = "a difference where there is none: latencies on this backend decide nothing"
    if check.passed:
        half_width = max(ratio.high / ratio.estimate, ratio.estimate / ratio.low) - 1
        resolution = half_width + check.tolerance
        verdict = f"no difference, and one of {resolution:.1%} would have shown"
    return f"self-check on {check.backend}, {check.model} against itself: {figures}, {verdict}"
