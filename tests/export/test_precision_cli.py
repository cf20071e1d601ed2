"""``edgekd export --precision …``: options reach the exporter, and useless ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from export.conftest import Checkpoints
from typer.testing import CliRunner

import edgekd_export
from edgekd.cli import app
from edgekd_bench.errors import InputError
from edgekd_export import ExportSettings


def export(*arguments: str | Path) -> BaseException | None:
    """Run the command; what it raised, which `edgekd.cli.main` turns into one line and exit 2."""
    return CliRunner().invoke(app, ["export", *map(str, arguments)]).exception


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ExportSettings]:
    """Settings the exporter was called with; it is not run."""
    seen: list[ExportSettings] = []

    def record(*_: Any, settings: ExportSettings, **__: Any) -> Any:
        seen.append(settings)
        raise InputError("recorded")

    monkeypatch.setattr(edgekd_export, "run", record, raising=False)
    return seen


def test_every_option_reaches_the_exporter(asked: list[ExportSettings], tmp_path: Path) -> None:
    export(
        "detector.pt",
        *("--precision", "int8", "--batch", "2", "--dynamic-batch", "--nms"),
        *("--calibration", "entropy", "--calibration-images", "7"),
        *("--calibration-data", tmp_path, "--calibration-cache", tmp_path / "ranges.json"),
        *("--max-map-drop", "0.02"),
    )
    (settings,) = asked
    assert (settings.precision, settings.batch, settings.dynamic_batch) == ("int8", 2, True)
    assert (settings.calibration, settings.calibration_images) == ("entropy", 7)
    assert settings.nms
    assert settings.calibration_data == tmp_path
    assert settings.calibration_cache == tmp_path / "ranges.json"
    assert settings.max_map_drop == 0.02


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-map-drop", "0.01"),
        ("--calibration-data", "images"),
        ("--calibration-cache", "ranges.json"),
    ],
)
def test_options_of_int8_are_refused_elsewhere(
    option: str, value: str, asked: list[ExportSettings]
) -> None:
    error = export("detector.pt", "--precision", "fp16", option, value)
    assert isinstance(error, InputError)
    assert option in str(error)
    assert not asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8"], "needs images to calibrate on"),
        (["--precision", "int8", "--calibration", "best"], "--calibration: "),
        (["--precision", "int8", "--calibration-images", "0"], "--calibration-images: "),
        (["--precision", "int4"], "--precision: "),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    error = export(checkpoints("yolov8n"), "--out", tmp_path, *arguments)
    assert isinstance(error, InputError)
    assert message in str(error)
    assert "\n" not in str(error)
    assert list(tmp_path.iterdir()) == []
