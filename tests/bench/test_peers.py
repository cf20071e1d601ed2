"""The comparison with peers: reading their output, judging it, disturbing them, and the page.

The long run is `bench/peers/compare.py`; here are its parts, on output as the tools print it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd_bench.detection_data import load_detection_set
from edgekd_bench.errors import InputError

PEERS = Path(__file__).parents[2] / "bench" / "peers"
MODULES = ("peer_case", "peer_tools", "peer_runs", "peer_verdicts", "peer_faults", "peer_page")


@pytest.fixture(scope="module")
def peers() -> Iterator[SimpleNamespace]:
    """The scripts' modules; they import one another as scripts in one folder do."""
    import importlib

    names = (*MODULES, "disturbances", "peer_schedule", "compare")
    paths = [str(PEERS), str(PEERS.parent)]
    sys.path[:0] = paths
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        for path in paths:
            sys.path.remove(path)
        for name in names:
            sys.modules.pop(name, None)


def _finished(stdout: str, stderr: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


def _benchmark_output(ms: str = "12.50", status: str = "✅", map50_95: str = "0.4321") -> str:
    row = {" ": "1", "Format": "ONNX", "Status❔": status, "Size (MB)": "10.1"}
    row |= {"metrics/mAP50-95(B)": map50_95, "Inference time (ms/im)": ms}
    row |= {"FPS": "-" if ms == "-" else f"{1000 / float(ms):.2f}"}
    progress = "\r val: 10% ━╸──── 4/40 8.3it/s\r val: 100% ━━━━ 40/40 9.9it/s\n"
    return progress + json.dumps({"rows": [row], "torch_threads": 1}) + "\n"


def _report(peers: SimpleNamespace, stdout: str, stderr: str = "", code: int = 0) -> Any:
    return peers.peer_runs.read_report(_tool(peers), _finished(stdout, stderr, code), 4.0)


def _tool(peers: SimpleNamespace) -> Any:
    return peers.peer_tools.all_tools(peers.peer_tools.Effort(), None)[1]


def test_a_row_of_ultralytics_is_read_as_figures_and_its_bars_are_no_remark(
    peers: SimpleNamespace,
) -> None:
    said = "\x1b[34mUltralytics 8.4.190\x1b[0m CPU\nWARNING 3 labels are missing"
    report = _report(peers, _benchmark_output(), said)
    assert report.figures == {"ms": 12.5, "FPS": 80.0, "mAP50-95": 0.4321, "MB": 10.1}
    assert report.remarks == ("Ultralytics # CPU", "WARNING # labels are missing")
    assert not report.hashes


def test_a_row_that_failed_gives_no_number(peers: SimpleNamespace) -> None:
    report = _report(peers, _benchmark_output("-", "❎", "-"))
    assert report.figures == {"MB": 10.1}
    with pytest.raises(InputError, match=r"Ultralytics benchmark gave no number, exit 0"):
        peers.peer_schedule.checked(_tool(peers), report)


def test_profile_models_gives_its_spread_in_a_table_only(peers: SimpleNamespace) -> None:
    table = "| detector           | 320 | - | 111.8±3.2 ms | 0.0±0.0 ms | 0.0 | 0.0 |"
    tool = peers.peer_tools.all_tools(peers.peer_tools.Effort(), None)[2]
    done = _finished(json.dumps({"milliseconds": 111.845}), table)
    assert peers.peer_runs.read_report(tool, done, 1.0).figures == {"ms": 111.845, "±, ms": 3.2}


def test_edgekds_record_names_the_file_and_its_flags_are_remarks(peers: SimpleNamespace) -> None:
    row = {"latency_p50_ms": 10.0, "latency_p90_ms": 11.0, "latency_p99_ms": 13.0}
    row |= {"end_to_end_p50_ms": 14.0, "first_call_ms": 20.0, "map50_95": 0.4}
    row |= {"sha256": "a" * 64, "flags": ["busy machine: 81% of the 2 cores"]}
    tool = peers.peer_tools.all_tools(peers.peer_tools.Effort(), None)[0]
    done = _finished(json.dumps({"rows": [row]}, indent=2))
    report = peers.peer_runs.read_report(tool, done, 1.0)
    assert report.remarks == ("busy machine: #% of the # cores",)
    assert report.hashes == {"a" * 64}
    assert report.figures["ms"] == 10.0


@pytest.mark.parametrize(
    ("disturbed", "other_file", "outcome"),
    [
        (_benchmark_output("12.60"), False, "unmoved"),
        (_benchmark_output("12.60"), True, "silent"),
        (_benchmark_output("37.50"), False, "silent"),
        (_benchmark_output("12.60", map50_95="0.4000"), True, "shows"),
    ],
)
def test_silence_counts_where_the_number_moved_or_the_file_is_another(
    peers: SimpleNamespace, disturbed: str, other_file: bool, outcome: str
) -> None:
    usual = [_report(peers, _benchmark_output(ms)) for ms in ("12.40", "12.50", "12.60")]
    found = peers.peer_verdicts.observe(
        _tool(peers), usual, _report(peers, disturbed), other_file=other_file
    )
    assert found.outcome == outcome
    assert found.usual_ms == (12.4, 12.5, 12.6)


def test_an_error_an_unusual_remark_and_another_hash_are_noticing(peers: SimpleNamespace) -> None:
    usual = [_report(peers, _benchmark_output(), f"run {n}: sha {'a' * 64}") for n in range(3)]
    tool = _tool(peers)
    outcomes = {}
    for name, report in {
        "usual": _report(peers, _benchmark_output(), f"run 9: sha {'a' * 64}"),
        "remark": _report(peers, _benchmark_output(), "WARNING the machine is busy"),
        "error": _report(peers, "", "error: another file took its place", code=2),
    }.items():
        found = peers.peer_verdicts.observe(tool, usual, report, other_file=False)
        outcomes[name] = (found.outcome, found.evidence)
    assert outcomes["usual"] == ("unmoved", "")
    assert outcomes["remark"] == ("notices", "WARNING the machine is busy")
    assert outcomes["error"] == ("notices", "exit 2: error: another file took its place")
    data = "d" * 64  # the set's hash is the same in both
    bare = [
        _finished(json.dumps({"sha": digit * 64, "data": data, "milliseconds": 9.0}))
        for digit in "ab"
    ]
    loop = peers.peer_tools.all_tools(peers.peer_tools.Effort(), None)[3]
    first, other = (peers.peer_runs.read_report(loop, done, 1.0) for done in bare)
    found = peers.peer_verdicts.observe(loop, [first], other, other_file=True)
    assert (found.outcome, found.evidence) == ("notices", "names another SHA-256")


def test_a_remark_that_half_of_the_usual_runs_make_is_no_news(peers: SimpleNamespace) -> None:
    quiet, loud = (_report(peers, _benchmark_output(), said) for said in ("", "WARNING cache made"))
    new = peers.peer_runs.new_remarks
    assert new([quiet, loud], loud) == []
    assert new([quiet, quiet, loud], loud) == ["WARNING cache made"]


def test_frames_per_second_are_held_against_end_to_end(peers: SimpleNamespace) -> None:
    faults = peers.peer_faults
    runs = {
        "Ultralytics benchmark": [_report(peers, _benchmark_output("10.00"))],
        "edgekd bench": [
            peers.peer_runs.Report(0, 1.0, "", figures={"ms": 9.0, "end to end p50, ms": 20.0})
        ],
    }
    fault = faults.frames_per_second(faults.Evidence(runs, {}))
    assert fault.numbers == {"claimed": 100.0, "end_to_end": 50.0}
    assert fault.verdict == "misleads"


def test_a_neighbour_burns_cpu_and_is_gone_afterwards(peers: SimpleNamespace) -> None:
    with peers.disturbances.cpu_bursts() as environment:
        assert environment == {}
        (burner,) = (pid for pid in _children() if "cpu_bursts.py" in _command(pid))
        start = _cpu_seconds(burner)
        deadline = time.monotonic() + 20
        while _cpu_seconds(burner) - start < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _cpu_seconds(burner) - start >= 0.2
    assert not Path(f"/proc/{burner}").exists()


def _children() -> list[int]:
    found = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in found if _stat(pid)[1:2] == [str(os.getpid())]]


def _stat(pid: int) -> list[str]:
    """State, parent and so on, as in proc(5); empty where the process has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


def _cpu_seconds(pid: int) -> float:
    return int(_stat(pid)[11]) / os.sysconf("SC_CLK_TCK")


def test_only_the_first_run_of_a_session_is_slow(
    peers: SimpleNamespace, tiny_models: Any, tmp_path: Path
) -> None:
    program = """
import sys, time, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
shape = [side if isinstance(side, int) else 1 for side in entry.shape]
for _ in range(2):
    start = time.monotonic()
    session.run(None, {entry.name: np.zeros(shape, np.float32)})
    print(time.monotonic() - start)
"""
    with peers.disturbances.slow_first_run(2.0) as added:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tiny_models.onnx)],
            env={**os.environ, **added},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    first, second = map(float, done.stdout.split())
    assert first >= 2.0 > second


def _files(peers: SimpleNamespace, folder: Path, content: str) -> Any:
    folder.mkdir()
    files = peers.peer_case.Files(folder / "a.pt", folder / "a.onnx")
    for path in (files.weights, files.onnx):
        path.write_text(content)
    return files


def test_files_are_swapped_before_and_half_way_or_it_is_said(
    peers: SimpleNamespace, tmp_path: Path
) -> None:
    own, other = (_files(peers, tmp_path / name, name) for name in ("own", "other"))
    case = peers.peer_case.Case(own.copy_into(tmp_path / "run"), tmp_path / "data.yaml", 64)
    with peers.disturbances.swapped_during(case, other, after_s=0.05):
        assert case.files.onnx.read_text() == "own"
        deadline = time.monotonic() + 20
        while case.files.onnx.read_text() == "own" and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
    assert case.files.onnx.read_text() == case.files.weights.read_text() == "other"
    own.copy_into(case.folder)
    with peers.disturbances.swapped_before(case, other):
        assert case.files.weights.read_text() == "other"
    own.copy_into(case.folder)
    late = peers.disturbances.swapped_during(case, other, after_s=60)
    with pytest.raises(peers.disturbances.NotDisturbedError, match="nothing was swapped"), late:
        pass
    assert case.files.onnx.read_text() == "own"


def test_the_copied_set_is_the_same_set(
    peers: SimpleNamespace, yolo_set: Path, tmp_path: Path
) -> None:
    whole = load_detection_set(yolo_set, "val")
    data = peers.peer_case.write_set(whole, tmp_path / "copy", 3)
    copied = load_detection_set(data, "val")
    assert len(copied.images) == 3
    assert copied.names == whole.names
    for image in copied.images:
        twin = whole.images[int(image.path.stem)]
        assert image.path.read_bytes() == twin.path.read_bytes()
        assert image.boxes == pytest.approx(twin.boxes, abs=0.01)
        assert image.class_ids.tolist() == twin.class_ids.tolist()


def _record() -> dict[str, Any]:
    tool = {"tool": "plain ORT loop", "number": "mean | of 100", "median_ms": 12.345}
    tool |= {"lowest_ms": 12.0, "highest_ms": 13.0, "names_file_by_hash": False, "seconds": 2.0}
    fault = {"peer": "p", "claim": "c", "test": "t", "reported": "r", "edgekd": "e"}
    observed = {"outcome": "silent", "change": 0.25, "evidence": ""}
    return {
        "environment": {"device_name": "a CPU", "cpu_cores_usable": 2},
        "data": {"name": "set", "num_images": 40},
        "image_size": 320,
        "rounds": 5,
        "seconds": 300.0,
        "flags": [],
        "versions": {"onnxruntime": "1.2"},
        "edgekd_repeatability": {"held": 4, "runs": 5},
        "command": ["python", "bench/peers/compare.py"],
        "tools": [tool],
        "faults": [fault | {"verdict": "misleads"}],
        "disturbances": {"a neighbour": {"plain ORT loop": observed}, "a swap": {}},
    }


def test_the_page_gets_the_records_figures_and_keeps_its_prose(
    peers: SimpleNamespace, tmp_path: Path
) -> None:
    page = tmp_path / "peers.md"
    marks = peers.peer_page
    page.write_text(f"before\n{marks.BEGIN}\nold 99.99\n{marks.END}\nafter\n")
    marks.write_page(_record(), page)
    once = page.read_text()
    assert once.startswith(f"before\n{marks.BEGIN}\n") and once.endswith(f"{marks.END}\nafter\n")
    assert "99.99" not in once
    assert "| plain ORT loop | mean \\| of 100 | 12.35 [12.00, 13.00] | no | 2.0 |" in once
    assert "| p | c | t | r | e | misleads |" in once
    assert "| plain ORT loop | **silent** (+25%) | not run |" in once
    marks.write_page(_record(), page)
    assert page.read_text() == once


def test_a_page_without_marks_is_refused_and_left_alone(
    peers: SimpleNamespace, tmp_path: Path
) -> None:
    page = tmp_path / "peers.md"
    page.write_text("no marks")
    with pytest.raises(InputError, match=r"peers\.md: the marks .* are not both there"):
        peers.peer_page.write_page(_record(), page)
    assert page.read_text() == "no marks"


def test_the_page_in_docs_has_its_marks(peers: SimpleNamespace) -> None:
    text = (PEERS.parents[1] / "docs" / "peers.md").read_text(encoding="utf-8")
    assert text.index(peers.peer_page.BEGIN) < text.index(peers.peer_page.END)
