"""Import Ultralytics without letting it install, download, phone home or write to the home folder.

Ultralytics reads its environment once, at import, so this must run before the first
``import ultralytics`` anywhere in the process. Torch is imported first because Ultralytics sets
``OMP_NUM_THREADS=1`` on import where nobody chose a value, which would slow every CPU measurement.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path


def prepare_ultralytics(settings_dir: Path | None = None) -> None:
    """Set Ultralytics' environment; call it before importing ``ultralytics``.

    Args:
        settings_dir: folder for Ultralytics' settings, normally inside the run folder. A temporary
            folder where None is given and the user set no ``YOLO_CONFIG_DIR``.
    """
    if "ultralytics" in sys.modules:
        return
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if settings_dir is None and "YOLO_CONFIG_DIR" not in os.environ:
        settings_dir = Path(tempfile.mkdtemp(prefix="edgekd-ultralytics-"))
        atexit.register(shutil.rmtree, settings_dir, ignore_errors=True)
    if settings_dir is not None:
        settings_dir.mkdir(parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(settings_dir.resolve())
    import torch  # noqa: F401
    from PIL import Image

    plain_open = Image.open
    chosen = os.environ.get("OMP_NUM_THREADS")
    # Its log goes to the stdout it finds now; stdout belongs to our own results (`--json`).
    with contextlib.redirect_stdout(sys.stderr):
        import ultralytics
        import ultralytics.utils.patches  # noqa: F401
    # `patches`, otherwise imported at some later moment, swaps Pillow's opener for one that wants a
    # HEIC plug-in for every broken file, and raises ImportError where everybody expects
    # UnidentifiedImageError.
    Image.open = plain_open

    if chosen is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    _place_label_font(Path(os.environ["YOLO_CONFIG_DIR"]))


def _place_label_font(config_dir: Path) -> None:
    """Give Ultralytics a font on disk, or it tries to download Arial before every training."""
    import matplotlib

    source = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for folder in (config_dir, config_dir / "Ultralytics"):
        for name in ("Arial.ttf", "Arial.Unicode.ttf"):
            target = folder / name
            if folder.is_dir() and not target.exists():
                target.write_bytes(source.read_bytes())
