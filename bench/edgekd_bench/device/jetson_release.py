"""Which Jetson Linux and which JetPack a Jetson runs: its TensorRT and CUDA follow from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekd_bench.device.sysfs import read_line
from edgekd_bench.device.tool import output_of

_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
# Of the releases edgekd can run on (Python 3.10 and later), as NVIDIA's JetPack archive pairs
# them: https://developer.nvidia.com/embedded/jetpack-archive. Needed where the package
# nvidia-jetpack is not installed, as on an image flashed without the SDK components.
_JETPACKS = {
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "38.2.0": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}


def parse_tegra_release(text: str) -> str | None:
    """``# R36 (release), REVISION: 4.4, …`` → ``36.4.4``; None: not such a file."""
    found = _RELEASE.search(text)
    return None if found is None else f"{found[1]}.{found[2]}"


def parse_package_versions(text: str) -> dict[str, str]:
    """Lines ``package<TAB>version`` of dpkg-query; a package that is not installed has none."""
    pairs = (line.partition("\t") for line in text.splitlines())
    return {name: version.strip() for name, _, version in pairs if version.strip()}


def jetpack_of(l4t: str | None, packages: dict[str, str]) -> str | None:
    """The JetPack release: as installed, else as Jetson Linux implies it; None: unknown."""
    installed = packages.get("nvidia-jetpack")
    if installed is not None:
        return re.split(r"[+-]", installed)[0]  # 6.2.1+b38, 7.2.1-b49
    return None if l4t is None else _JETPACKS.get(l4t)


def describe_jetson_release(root: Path = Path("/")) -> dict[str, Any]:
    """Jetson Linux, JetPack and the kernel package's version; empty on any other machine."""
    line = read_line(root / "etc/nv_tegra_release")
    l4t = None if line is None else parse_tegra_release(line)
    wanted = ["nvidia-l4t-core", "nvidia-jetpack"]
    query = ["dpkg-query", "--show", "--showformat", r"${Package}\t${Version}\n"]
    # One query a package: dpkg-query fails as a whole where one of them is unknown.
    outputs = [output_of([*query, name]) or "" for name in wanted] if l4t else []
    packages = parse_package_versions("".join(outputs))
    facts = {
        "l4t": l4t,
        "jetpack": jetpack_of(l4t, packages),
        "l4t_core_package": packages.get("nvidia-l4t-core"),
    }
    return {key: value for key, value in facts.items() if value is not None}
