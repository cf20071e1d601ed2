"""A real browser opens the page: no console message, every plot has ink, in light and in dark.

Skipped, with the reason, where no Chromium is installed: it is no dependency of edgekd.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bench.page_parts import Page
from bench.report_fixture import build_run
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
_TILE = 400


def screenshot(page: Path, folder: Path, size: tuple[int, int], *flags: str) -> NDArray[np.uint8]:
    """RGB pixels ``(H, W, 3)`` of ``page``; fails on any console message."""
    assert CHROMIUM is not None
    picture = folder / "shot.png"
    # Chromium's sandbox refuses to run as root, which is usual in containers.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [
        CHROMIUM,
        *_FLAGS,
        *sandbox,
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={picture}",
        page.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    with Image.open(picture) as opened:
        return np.asarray(opened.convert("RGB"))


def test_page_renders_without_console_messages(tmp_path: Path) -> None:
    report = run(build_run(tmp_path / "run", outcome="better")).path
    pixels = screenshot(report, tmp_path, (1440, 900), "--blink-settings=preferredColorScheme=0")
    assert pixels.mean() < 80  # dark
    # The column is centred: nothing sticks out of it to the left or the right.
    assert np.unique(pixels[:, :150].reshape(-1, 3), axis=0).shape[0] == 1
    assert np.unique(pixels[:, -150:].reshape(-1, 3), axis=0).shape[0] == 1


def test_every_drawing_has_ink(tmp_path: Path) -> None:
    page = Page(run(build_run(tmp_path / "run")).path.read_text(encoding="utf-8"))
    style = page.html.split("<style>")[1].split("</style>")[0]
    stores = [svg for svg in page.svg_texts() if "<symbol" in svg]
    drawings = [svg for svg in page.svg_texts() if "<symbol" not in svg]
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
        colourful = (tile.max(axis=2) - tile.min(axis=2)) > 60
        inked = np.abs(tile - tile[0, -1]).sum(axis=2) > 40
        assert inked.mean() > 0.005, svg[:200]
        assert colourful.sum() > 300, svg[:200]
