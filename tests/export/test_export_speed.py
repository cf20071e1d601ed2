"""``bench/export_speed.py --quick``: the whole comparison runs and its record is complete.

Nothing here looks at a time: three rounds of one call say nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from export.labelled_scenes import write_scene_set
from export.typed_exports import Exports

from edgekd_bench.backends import is_installed

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def record(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("export_speed")
    data = write_scene_set(folder / "set", train=8, val=8)
    command = [sys.executable, str(ROOT / "bench/export_speed.py"), "--quick"]
    command += ["--weights", str(exports("yolo11n").weights), "--data", str(data)]
    done = subprocess.run(
        [*command, "--out", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    written: dict[str, Any] = json.loads((folder / "export_speed.json").read_text())
    assert json.loads(done.stdout) == written
    return written


def test_every_file_is_timed_and_scored_on_every_runtime(record: dict[str, Any]) -> None:
    runtimes = [r for r in ("onnxruntime", "openvino") if is_installed(r)]
    names = {row["name"] for row in record["forward"]}
    for runtime in runtimes:
        for file in ("Ultralytics fp32", "edgekd fp32", *_int8()):
            assert f"{file} on {runtime}" in names
    for row in record["forward"]:
        assert row["num_timed"] == record["rounds"] * record["calls_a_turn"] == 3
        assert len(row["ratio"]["by_round"]) == record["rounds"]
        assert 0 <= row["map50_95"] <= 1
        lost = row["map50_95_lost"]
        assert lost["low"] <= lost["high"]
    (reference,) = [row for row in record["forward"] if row["name"] == record["forward_reference"]]
    assert set(reference["ratio"]["by_round"]) == {1.0}
    assert reference["map50_95_lost"]["estimate"] == 0
    assert reference["map50_95"] > 0.1, "the detector has found its objects"


def test_edgekds_fp32_file_is_as_good_as_ultralytics(record: dict[str, Any]) -> None:
    by_name = {row["name"]: row for row in record["forward"]}
    ours = by_name["edgekd fp32 on onnxruntime"]
    assert ours["parity"] == "pass"
    assert abs(ours["map50_95_lost"]["estimate"]) < 1e-3
    assert ours["sha256"] != by_name[record["forward_reference"]]["sha256"]


def test_end_to_end_is_held_against_predict(record: dict[str, Any]) -> None:
    names = [row["name"] for row in record["end_to_end"]]
    assert names[0] == record["end_to_end_reference"] == "Ultralytics predict"
    assert {"edgekd fp32 on onnxruntime", "edgekd int8 for onnxruntime on onnxruntime"} <= set(
        names
    )


def test_the_record_says_what_it_rests_on(record: dict[str, Any]) -> None:
    assert record["environment"]["cpu_cores"] >= 1
    assert {"onnxruntime", "ultralytics", "torch"} <= set(record["versions"])
    assert record["data"]["num_images"] == 8
    assert record["command"][0] == "bench/export_speed.py"
    for bar in record["bars"]:
        assert isinstance(bar["met"], bool)


def _int8() -> list[str]:
    return [f"edgekd int8 for {runtime}" for runtime in ("tensorrt", "onnxruntime", "openvino")]
