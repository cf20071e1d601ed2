"""`edgekd suggest` for real, on one tiny network: built elsewhere, timed here, kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgekd import suggest
from edgekd.cli import app
from edgekd_bench.errors import InputError
from edgekd_bench.suggestion.settings import SuggestionSettings


@pytest.mark.slow
def test_one_network_in_two_precisions(tmp_path: Path) -> None:
    settings = SuggestionSettings(
        target_ms=10_000,
        families=("yolo11",),
        scales=("n",),
        image_sizes=(64,),
        precisions=("fp32", "int8"),
        threads=1,
        min_seconds=0,
        min_count=20,
        warmup=2,
    )
    found = suggest.run(settings, cache_folder=tmp_path)
    assert {option.choice.precision for option in found.options} == {"fp32", "int8"}
    for option in found.options:
        assert option.status == "meets" and option.pareto and option.timing is not None
        assert 0 < option.timing.p50_ms <= option.timing.p90_ms
        assert option.timing.num_timed == 20 and not option.timing.rough
    sizes = {o.choice.precision: o.timing.size_mb for o in found.options if o.timing}
    assert sizes["int8"] < sizes["fp32"] / 2
    again = suggest.run(settings, cache_folder=tmp_path)
    assert again.options == found.options, "what is known is not measured again"


def test_the_command_reads_what_is_known_and_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SuggestionSettings] = []

    def remember(settings: SuggestionSettings, **_: object) -> object:
        seen.append(settings)
        raise InputError("enough")

    monkeypatch.setattr(suggest, "run", remember)
    options = ["--target-ms", "8", "--families", "yolo26, yolo11", "--scales", "s,n"]
    options += ["--image-sizes", "640,320", "--threads", "2", "--backend", "onnxruntime"]
    CliRunner().invoke(app, ["suggest", *options, "--out", str(tmp_path)])
    settings = seen[0]
    assert settings.families == ("yolo26", "yolo11") and settings.scales == ("n", "s")
    assert settings.image_sizes == (320, 640) and settings.precisions == ("fp32", "int8")
    assert settings.backends == ("onnxruntime",) and settings.threads == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--families", "yolo27"], "did you mean 'yolo26'"),
        (["--image-sizes", "big"], "--image-sizes"),
        (["--target", "jetson-orin-nano"], "measured, not guessed"),
        (["--target", "jetson-oin-nano"], "no such device profile"),
        (["--backend", "tpu"], "there is none"),
    ],
)
def test_bad_options_are_one_line(options: list[str], reason: str) -> None:
    result = CliRunner().invoke(app, ["suggest", "--target-ms", "8", *options])
    assert isinstance(result.exception, InputError)
    assert reason in str(result.exception) and "\n" not in str(result.exception)


def test_the_measuring_side_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys, edgekd.suggest; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'ultralytics', 'onnx')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_result_is_json() -> None:
    from edgekd_bench.suggestion.result import Suggestion

    schema = Suggestion.model_json_schema()
    assert json.dumps(schema) and "options" in schema["properties"]
