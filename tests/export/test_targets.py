"""Device profiles: complete, consistent, packaged, and refused clearly where they are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edgekd_bench.errors import InputError
from edgekd_export.targets import PROFILES, Target, load_target, load_targets, read_target

WANTED = {
    "jetson-orin-nano",
    "jetson-orin-nx-8",
    "jetson-orin-nx-16",
    "jetson-agx-orin",
    "jetson-thor",
    "rtx30",
    "rtx40",
    "rtx50",
    "t4",
    "l4",
    "a100",
    "h100",
    "cpu-x86",
    "cpu-arm",
}


def test_all_profiles_are_there_and_name_their_sources() -> None:
    targets = {target.name: target for target in load_targets()}
    assert set(targets) >= WANTED
    for target in targets.values():
        assert all(source.startswith("https://") for source in target.sources), target.name


def test_facts_that_a_build_relies_on() -> None:
    by_name = {target.name: target for target in load_targets()}
    orins = [target for name, target in by_name.items() if "orin" in name]
    assert {target.compute_capability for target in orins} == {"8.7"}
    assert {t.name: t.dla_cores for t in orins} == {
        "jetson-agx-orin": 2,
        "jetson-orin-nano": 0,
        "jetson-orin-nano-super": 0,
        "jetson-orin-nx-8": 1,
        "jetson-orin-nx-16": 2,
    }
    assert all(not t.dla_cores for t in by_name.values() if t.kind != "jetson")
    # A builder that may take all of a memory it shares with the CPU takes the desktop with it.
    assert all(t.workspace_gb for t in by_name.values() if t.kind == "jetson" and t.builders)


def test_power_modes_are_read_and_never_set() -> None:
    for target in load_targets():
        assert not any(" -m" in command or "sudo" in command for command in target.read_power)
        text = (PROFILES / f"{target.name}.yaml").read_text()
        assert "nvpmodel -m" not in text


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("jetson-orin", "jetson-orin-nano"), ("rtx4090", "rtx40"), ("jetson-orin-nan", "orin-nano")],
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=nearest) as caught:
        load_target(name)
    assert "edgekd targets" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dla": 2}, "dla: Extra inputs"),
        ({"compute_capability": "87"}, "compute_capability"),
        ({"compute_capability": None}, "every other kind has one"),
        ({"software": []}, "a jetson needs software"),
        ({"builders": []}, "why it is unsupported"),
        ({"sources": []}, "sources"),
        ({"precision": "fp8"}, "precision"),
        ({"name": "other"}, "both names must agree"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    content = yaml.safe_load((PROFILES / "jetson-agx-orin.yaml").read_text())
    path = tmp_path / "jetson-agx-orin.yaml"
    path.write_text(yaml.safe_dump({**content, **change}))
    with pytest.raises(InputError, match=message) as caught:
        read_target(path)
    assert "\n" not in str(caught.value)
    path.write_text("name: [")
    with pytest.raises(InputError, match="not valid YAML"):
        read_target(path)


def test_the_profiles_are_packaged() -> None:
    import edgekd_export

    package = Path(edgekd_export.__file__).parent
    assert PROFILES.parent == package
    project = package.parent.parent / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not run from a source tree")
    assert f'"{PROFILES.name}/*.yaml"' in project.read_text()


def test_the_command_lists_them() -> None:
    command = [sys.executable, "-c", "from edgekd.cli import main; main()", "targets"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(name in text for name in WANTED)
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert [Target.model_validate(t) for t in json.loads(as_json.stdout)] == load_targets()
