"""A real browser opens the pages: no console message, every plot has ink, nothing is cut off.

Skipped, with the reason, where no Chromium is installed: it is no dependency of edgekd.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bench.page_parts import Page
from bench.report_rich_record import build_rich_run
from numpy.typing import NDArray
from PIL import Image

from edgekd_bench.report import run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH to render the page")
_FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
_DARK = "--blink-settings=preferredColorScheme=0"
_TILE = 300
_PAPER_WIDTH, _MARGIN = 688, 36  # A4 within its margins, CSS pixels


def chromium(page: Path, folder: Path, *flags: str) -> str:
    """What the browser prints; fails on any console message."""
    assert CHROMIUM is not None
    # Chromium's sandbox refuses to run as root, which is usual in containers.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *_FLAGS, *sandbox, *flags, profile, page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    return done.stdout


def screenshot(page: Path, folder: Path, size: tuple[int, int], *flags: str) -> NDArray[np.uint8]:
    """RGB pixels ``(H, W, 3)`` of ``page``."""
    picture = folder / "shot.png"
    window = f"--window-size={size[0]},{size[1]}"
    chromium(page, folder, window, f"--screenshot={picture}", *flags)
    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB"))


def num_colours(pixels: NDArray[np.uint8]) -> int:
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page about one run, one about two, and their comparison."""
    folder = tmp_path_factory.mktemp("pages")
    orin = build_rich_run(folder / "orin")
    thor = build_rich_run(folder / "thor", board="NVIDIA Jetson AGX Thor", speed=4, optional=False)
    return {
        "alone": run(orin).path,
        "merged": run(orin, thor).path,
        "compared": run(orin, thor, compare=True).path,
    }


@pytest.mark.parametrize("name", ["merged", "compared"])
def test_pages_open_in_the_dark_without_console_messages(
    pages: dict[str, Path], tmp_path: Path, name: str
) -> None:
    pixels = screenshot(pages[name], tmp_path, (1480, 2400), _DARK)
    assert pixels.mean() < 80
    # The column is centred: nothing sticks out of it to the left or the right.
    assert num_colours(pixels[:, :140]) == num_colours(pixels[:, -140:]) == 1


@pytest.mark.parametrize("name", ["alone", "compared"])
def test_every_drawing_has_ink(pages: dict[str, Path], tmp_path: Path, name: str) -> None:
    page = Page(pages[name].read_text(encoding="utf-8"))
    style = page.html.split("<style>")[1].split("</style>")[0]
    stores = [svg for svg in page.svg_texts() if "<symbol" in svg]
    drawings = [svg for svg in page.svg_texts() if 'class="plot' in svg]
    tiles = "".join(f'<div class="contact">{svg}</div>' for svg in drawings)
    sheet = (
        f"<!doctype html><meta charset=utf-8><style>{style} html, body {{ margin: 0; }} "
        f".contact {{ height: {_TILE}px; overflow: hidden; }} .contact svg {{ height: {_TILE}px; }}"
        f"</style>{''.join(stores)}{tiles}"
    )
    path = tmp_path / "sheet.html"
    path.write_text(sheet, encoding="utf-8")
    pixels = screenshot(path, tmp_path, (1000, _TILE * len(drawings)))
    assert pixels.mean() > 150  # light
    for index, svg in enumerate(drawings):
        tile = pixels[index * _TILE : (index + 1) * _TILE].astype(int)
        inked = np.abs(tile - tile[0, -1]).sum(axis=2) > 40
        assert inked.mean() > 0.005, svg[:200]
        if "change-map" not in svg:  # drawn in grey alone: there is nothing to call good or bad
            colourful = (tile.max(axis=2) - tile.min(axis=2)) > 60
            assert colourful.sum() > 300, svg[:200]


@pytest.mark.parametrize("name", ["alone", "compared"])
def test_on_paper_nothing_is_cut_off(pages: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The print styles at the width of A4: the margin at the right stays empty."""
    html = pages[name].read_text(encoding="utf-8")
    printed = html.replace("@media screen", "@media speech").replace("@media print", "@media all")
    margins = f"<style>body {{ margin: 0 {_MARGIN}px !important; }}</style></head>"
    path = tmp_path / "printed.html"
    path.write_text(printed.replace("</head>", margins), encoding="utf-8")
    pixels = screenshot(path, tmp_path, (_PAPER_WIDTH + 2 * _MARGIN, 6000))
    assert num_colours(pixels[:, -_MARGIN + 4 :]) == 1


def test_a_page_prints_to_a_few_sheets(pages: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "page.pdf"
    chromium(pages["alone"], tmp_path, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", target.read_bytes())) <= 15


def test_a_narrow_window_is_no_wider_than_itself(pages: dict[str, Path], tmp_path: Path) -> None:
    """Tables and plots scroll within the page, not the page with them."""
    tell = "parent.postMessage(document.documentElement.scrollWidth, '*')"
    script = f"<script>{tell}</script></body>"
    html = pages["merged"].read_text(encoding="utf-8").replace("</body>", script)
    (tmp_path / "narrow.html").write_text(html, encoding="utf-8")
    # A frame, because Chromium's own window has a least width above that of a telephone.
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<iframe src=narrow.html width=400 height=800></iframe><script>"
        "addEventListener('message', e => document.title = e.data)</script>",
        encoding="utf-8",
    )
    dump = chromium(frame, tmp_path, "--dump-dom", "--virtual-time-budget=3000")
    found = re.search(r"<title>(\d+)</title>", dump)
    assert found is not None, dump[:500]
    assert int(found[1]) <= 400


def test_the_keyboard_brings_up_what_a_mark_says(pages: dict[str, Path], tmp_path: Path) -> None:
    script = """<script>
    const seen = [...document.querySelectorAll('svg')].flatMap(svg => {
      const tips = svg.querySelectorAll('.tip');
      return [...svg.querySelectorAll('[tabindex]')].map((mark, index) => {
        const before = getComputedStyle(tips[index]).visibility;
        mark.focus();
        const shown = [...tips].filter(tip => getComputedStyle(tip).visibility === 'visible');
        return before === 'hidden' && shown.length === 1 && shown[0] === tips[index];
      });
    });
    document.title = seen.filter(Boolean).length + ' of ' + seen.length;
    </script></body>"""
    html = pages["alone"].read_text(encoding="utf-8")
    path = tmp_path / "focus.html"
    path.write_text(html.replace("</body>", script), encoding="utf-8")
    title = re.search(r"<title>(\d+) of (\d+)</title>", chromium(path, tmp_path, "--dump-dom"))
    assert title is not None
    assert int(title[1]) == int(title[2]) > 30
