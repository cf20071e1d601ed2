"""The Dockerfiles cannot be built without a daemon and a board; what can be checked here is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "export/docker"
pytestmark = pytest.mark.skipif(not DOCKER.is_dir(), reason="not a checkout of the repository")


@pytest.fixture(params=["jetpack6", "jetpack7"])
def dockerfile(request: pytest.FixtureRequest) -> Path:
    return DOCKER / f"Dockerfile.{request.param}"


def test_the_build_context_holds_all_that_pip_needs(dockerfile: Path) -> None:
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert all((ROOT / path).exists() for path in kept)
    project = (ROOT / "pyproject.toml").read_text()
    where = re.search(r"where = \[(.*?)\]", project)
    assert where is not None
    for folder, package in (
        (".", "edgekd"),
        ("export", "edgekd_export"),
        ("bench", "edgekd_bench"),
    ):
        assert f'"{folder}"' in where.group(1)
        assert str(Path(folder) / package) in kept
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= kept
    links = [
        path
        for package in ("edgekd", "export/edgekd_export")
        for path in (ROOT / package).iterdir()
        if path.is_symlink()
    ]
    assert links  # package data that lies elsewhere must be in the context too
    for link in links:
        assert link.resolve().relative_to(ROOT).as_posix() in kept


def test_only_the_base_install_goes_in(dockerfile: Path) -> None:
    commands = re.findall(r"pip install ([^&\n]*)", dockerfile.read_text())
    assert [command.split()[-1] for command in commands] == ["pycuda", "."]


def test_every_continued_line_is_a_command(dockerfile: Path) -> None:
    """A missing backslash or a comment in the middle of a RUN breaks a build after minutes."""
    known = {"ARG", "FROM", "RUN", "ENV", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}
    continued = False
    for line in dockerfile.read_text().splitlines():
        if not continued and line and not line.startswith("#"):
            assert line.split()[0] in known, line
        assert not (continued and line.lstrip().startswith("#")), line
        continued = line.endswith("\\")
    assert not continued


def test_the_page_names_the_same_images(dockerfile: Path) -> None:
    base = re.search(r"^ARG BASE=(\S+)", dockerfile.read_text(), re.MULTILINE)
    assert base is not None
    assert f"`{base.group(1)}`" in (ROOT / "docs/jetson.md").read_text()
