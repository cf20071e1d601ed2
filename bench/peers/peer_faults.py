"""Where a tool's number misleads: one measured entry for each documented fault.

Each entry says what the tool claims, what was done to test it, what the tool reported, what edgekd
reports for the same, and a verdict that follows from the two by a rule written beside it. A fault
that did not show on this machine is recorded as not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from peer_runs import Report
from peer_tools import (
    BENCHMARK,
    EDGEKD,
    FIRST_CALL,
    FPS,
    LIGHTLY,
    LOOP,
    MAP,
    MS,
    PROFILE,
)
from peer_verdicts import last_words

Verdict = Literal["misleads", "not seen", "refuses"]

APART = 0.10  # two times of the same thing differ when they are further apart than this
MAP_APART = 0.005  # and two mAP, half a point


@dataclass(frozen=True)
class Fault:
    """One tested claim."""

    peer: str
    claim: str
    test: str
    reported: str
    edgekd: str
    verdict: Verdict
    numbers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


@dataclass(frozen=True)
class Evidence:
    """All runs, by tool and by probe."""

    rounds: Mapping[str, Sequence[Report]]
    probes: Mapping[str, Sequence[Report]]

    def median(self, tool: str, figure: str = MS) -> float:
        """Over the rounds."""
        return _median(self.rounds[tool], figure)

    def probe(self, name: str, figure: str = MS) -> float:
        """Median over a probe's repetitions."""
        return _median(self.probes[name], figure)


def find_faults(evidence: Evidence) -> list[Fault]:
    """All entries that the runs allow."""
    faults = [
        frames_per_second(evidence),
        accuracy(evidence),
        *(tail(evidence, peer) for peer in evidence.rounds if peer != EDGEKD),
        torch_threads(evidence),
        session_threads(evidence),
        clipping(evidence),
        replaced_file(evidence),
        swallowed_failure(evidence),
        other_classes(evidence),
        input_values(evidence),
    ]
    if LIGHTLY in evidence.rounds:
        faults += [loader_workers(evidence), given_file(evidence)]
    return faults


def frames_per_second(evidence: Evidence) -> Fault:
    """FPS that count the network alone against what a file to boxes takes."""
    claimed = evidence.median(BENCHMARK, FPS)
    end_to_end = 1000 / evidence.median(EDGEKD, "end to end p50, ms")
    return Fault(
        BENCHMARK,
        "frames per second",
        "held against 1000 / p50 from encoded image to boxes",
        f"{claimed:.1f} FPS",
        f"{end_to_end:.1f} images/s end to end",
        _misleads(claimed > end_to_end * (1 + APART)),
        {"claimed": claimed, "end_to_end": end_to_end},
    )


def accuracy(evidence: Evidence) -> Fault:
    """mAP of the same file on the same images."""
    theirs, ours = evidence.median(BENCHMARK, MAP), evidence.median(EDGEKD, MAP)
    return Fault(
        BENCHMARK,
        "mAP50-95 of the ONNX file",
        "the same file and images, by COCO's rules",
        f"{theirs:.4f}",
        f"{ours:.4f}",
        _misleads(abs(theirs - ours) > MAP_APART),
        {"theirs": theirs, "coco": ours},
    )


def tail(evidence: Evidence, peer: str) -> Fault:
    """What one number says of all calls: how many of edgekd's took longer than a peer's number."""
    number = evidence.median(peer)
    quantiles = np.mean([_row(r)["latency_quantiles_ms"] for r in evidence.rounds[EDGEKD]], axis=0)
    share = float((quantiles > number).mean())
    p90, p99 = evidence.median(EDGEKD, "p90, ms"), evidence.median(EDGEKD, "p99, ms")
    return Fault(
        peer,
        "a mean, no percentile"
        if peer != LIGHTLY
        else "mean, median, min, max, std; no percentile",
        "share of edgekd's timed calls that took longer; its p90 against the number",
        f"{number:.2f} ms",
        f"{share:.0%} of calls longer; p90 {p90:.2f}, p99 {p99:.2f} ms",
        _misleads(p90 > number * (1 + APART)),
        {"number_ms": number, "share_longer": share, "p90_ms": p90, "p99_ms": p99},
    )


def torch_threads(evidence: Evidence) -> Fault:
    """The PyTorch row: importing Ultralytics first limits torch to one thread."""
    plain, all_cores = evidence.probe("PyTorch row"), evidence.probe("PyTorch row, all cores")
    threads = evidence.probes["PyTorch row"][0].answer["torch_threads"]
    return Fault(
        BENCHMARK,
        "PyTorch row",
        "once as documented, once with OMP_NUM_THREADS set to the number of cores",
        f"{plain:.2f} ms on {threads} thread(s); {all_cores:.2f} ms with all cores",
        f"{evidence.probe('edgekd PyTorch'):.2f} ms, torch's own number of threads",
        _misleads(plain > all_cores * (1 + APART)),
        {"as_documented_ms": plain, "all_cores_ms": all_cores, "threads": threads},
    )


def session_threads(evidence: Evidence) -> Fault:
    """ProfileModels asks for eight threads whatever the machine has."""
    number, ours = evidence.median(PROFILE), evidence.median(EDGEKD)
    loop, eight = evidence.median(LOOP), evidence.probe("loop, 8 threads")
    return Fault(
        PROFILE,
        "time of the ONNX file on this CPU",
        "the plain loop with ORT's own threads and with 8",
        f"{number:.2f} ms; loop {loop:.2f} ms, with 8 threads {eight:.2f} ms",
        f"p50 {ours:.2f} ms",
        _misleads(abs(number / ours - 1) > APART),
        {"number_ms": number, "loop_ms": loop, "loop_8_threads_ms": eight, "edgekd_p50_ms": ours},
    )


def clipping(evidence: Evidence) -> Fault:
    """Known times given to its own clipping: what the mean forgets."""
    found = evidence.probes["clipping"][0].answer
    given = np.array(found["given"])
    dropped = 1 - found["num_kept"] / len(given)
    p90, p99 = np.quantile(given, [0.9, 0.99])
    return Fault(
        PROFILE,
        "mean ± standard deviation",
        "its clipping was given the percentiles that edgekd measured beside a busy neighbour",
        f"drops {dropped:.0%}; mean {found['mean']:.2f} ms",
        f"all kept: mean {given.mean():.2f}, p90 {p90:.2f}, p99 {p99:.2f} ms",
        _misleads(p90 > found["mean"] * (1 + APART)),
        {"dropped": dropped, "clipped_mean_ms": found["mean"], "mean_ms": float(given.mean())},
    )


def replaced_file(evidence: Evidence) -> Fault:
    """A benchmark that writes over a file which lies beside the weights."""
    count = sum(report.onnx_replaced for report in evidence.rounds[BENCHMARK])
    ours = sum(report.onnx_replaced for report in evidence.rounds[EDGEKD])
    runs = len(evidence.rounds[BENCHMARK])
    return Fault(
        BENCHMARK,
        "measures; files stay as they are",
        "SHA-256 of the detector.onnx that lay beside the weights, before and after",
        f"another file in {count} of {runs} runs",
        f"in {ours} of {len(evidence.rounds[EDGEKD])} runs",
        _misleads(count > 0),
        {"replaced": count, "runs": runs},
    )


def swallowed_failure(evidence: Evidence) -> Fault:
    """A set without images: exit codes."""
    return _exit_codes(evidence, "no images", "a set whose images are missing", "a finished run")


def other_classes(evidence: Evidence) -> Fault:
    """A set with other classes than the detector's."""
    claim = "mAP of the detector on the set"
    return _exit_codes(evidence, "other classes", "a set with one class more than it has", claim)


def input_values(evidence: Evidence) -> Fault:
    """Zeros or random numbers instead of images."""
    found = evidence.probes["inputs"][0].answer
    images = found["images"]
    apart = max(abs(found[kind] / images - 1) for kind in ("zeros", "random"))
    return Fault(
        LOOP,
        "any input takes as long",
        "zeros, random numbers and images in turns, one session, medians",
        f"zeros {found['zeros']:.2f}, random {found['random']:.2f} ms",
        f"images {images:.2f} ms",
        _misleads(apart > APART),
        {f"{kind}_ms": value for kind, value in found.items()},
    )


def loader_workers(evidence: Evidence) -> Fault:
    """Processes that prepare the next images while a call is timed."""
    default, none = evidence.median(LIGHTLY), evidence.probe(f"{LIGHTLY}, no workers")
    return Fault(
        LIGHTLY,
        "time of the network alone",
        "default data-loading processes, and none (num_workers=0)",
        f"{default:.2f} ms; {none:.2f} ms without",
        f"p50 {evidence.median(EDGEKD):.2f} ms; images are prepared before",
        _misleads(abs(default / none - 1) > APART),
        {"default_ms": default, "no_workers_ms": none},
    )


def given_file(evidence: Evidence) -> Fault:
    """The detector's ONNX file as it is."""
    (report,) = evidence.probes[f"{LIGHTLY}, file as given"]
    failed = report.exit_code != 0
    return Fault(
        LIGHTLY,
        "model: a TaskModel or 'a path to an exported model file'",
        "the exported detector.onnx by its path",
        f"exit {report.exit_code}: {last_words(report)}" if failed else "measured",
        f"p50 {evidence.median(EDGEKD):.2f} ms",
        "refuses" if failed else "not seen",
    )


def repeatability(reports: Sequence[Report]) -> dict[str, Any]:
    """edgekd's own claim: how often the 95 % interval of p50 holds the median of all its runs."""
    middle = _median(reports, MS)
    intervals = [_row(r)["latency_intervals_ms"].get("latency_p50_ms") for r in reports]
    known = [interval for interval in intervals if interval is not None]
    holding = sum(low <= middle <= high for low, high in known)
    first = _median(reports, FIRST_CALL)
    return {"runs": len(known), "held": holding, "median_p50_ms": middle, "first_call_ms": first}


def _exit_codes(evidence: Evidence, probe: str, test: str, claim: str) -> Fault:
    (theirs,) = evidence.probes[f"Ultralytics, {probe}"]
    (ours,) = evidence.probes[f"edgekd, {probe}"]
    row = theirs.answer["rows"][0] if theirs.answer else {}
    shown = [key for key in row if key.startswith(("Status", "metrics"))]
    cells = ", ".join(f"{key} {row[key]}" for key in shown)
    said = f"exit {theirs.exit_code}: {cells or last_words(theirs)}"
    return Fault(
        BENCHMARK,
        claim,
        test,
        said,
        f"exit {ours.exit_code}: {last_words(ours)}" if ours.exit_code else "exit 0",
        _misleads(theirs.exit_code == 0 and ours.exit_code != 0),
        {"exit": theirs.exit_code, "edgekd_exit": ours.exit_code},
    )


def _row(report: Report) -> Any:
    return report.answer["rows"][0]


def _median(reports: Sequence[Report], figure: str) -> float:
    return float(np.median([report.figures[figure] for report in reports]))


def _misleads(found: bool) -> Verdict:
    return "misleads" if found else "not seen"
