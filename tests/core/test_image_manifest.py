"""The unlabelled manifest: every format, duplicates, broken files, leaks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from core.conftest import draw_image
from PIL import Image

from edgekd.data.image_manifest import build_manifest, find_images, read_roots
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of


def build(*roots: Path, share: float = 0.5, **options: object):  # type: ignore[no-untyped-def]
    return build_manifest(roots, max_broken_share=share, **options)  # type: ignore[arg-type]


def test_every_format_and_mode_is_used(tmp_path: Path) -> None:
    base = draw_image(1)
    base.save(tmp_path / "a.jpg")
    base.convert("L").save(tmp_path / "grey.png")
    base.convert("CMYK").save(tmp_path / "cmyk.jpg")
    base.convert("RGBA").save(tmp_path / "alpha.webp", lossless=True)
    base.save(tmp_path / "b.bmp")
    base.save(tmp_path / "c.tiff")
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "d.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    base.save(tmp_path / "turned.jpg", exif=exif)
    found = build(tmp_path, share=0)
    assert len(found.images) == 8
    assert not found.skipped


def test_roots_may_be_folder_glob_list_or_file(tmp_path: Path, image_folder: Path) -> None:
    assert len(find_images(image_folder)) == 12
    assert len(find_images(image_folder / "0[0-4].jpg")) == 5
    listing = tmp_path / "list.txt"
    listing.write_text("# two\nunlabeled/03.jpg\nunlabeled/04.jpg\n")
    assert [p.name for p in find_images(listing)] == ["03.jpg", "04.jpg"]
    assert find_images(image_folder / "05.jpg") == [image_folder / "05.jpg"]


def test_manifest_roots_are_relative_to_the_manifest(tmp_path: Path, image_folder: Path) -> None:
    file = tmp_path / "unlabeled_images.yaml"
    file.write_text("roots:\n  - path: unlabeled\n    recursive: true\n  - unlabeled/0*.jpg\n")
    roots = read_roots(file)
    assert roots == [image_folder, image_folder / "0*.jpg"]
    assert len(build(*roots).images) == 12


def test_duplicates_are_found_by_content(image_folder: Path) -> None:
    shutil.copy(image_folder / "00.jpg", image_folder / "copy.jpg")
    found = build(image_folder)
    assert (len(found.images), found.num_duplicates) == (12, 1)


def test_order_does_not_depend_on_names(image_folder: Path) -> None:
    before = [e.sha256 for e in build(image_folder).images]
    for file in list(image_folder.iterdir()):
        file.rename(image_folder / f"z{sha256_of(file)[::-1]}.jpg")
    assert [e.sha256 for e in build(image_folder).images] == before


def test_broken_images_are_named_and_skipped(tmp_path: Path, image_folder: Path) -> None:
    broken = image_folder / "00.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (image_folder / "note.png").write_text("not an image")
    skipped = tmp_path / "images_skipped.txt"
    found = build(image_folder, skipped_file=skipped)
    assert len(found.images) == 11
    lines = skipped.read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == {str(broken), str(image_folder / "note.png")}


def test_too_many_broken_stop_the_run(image_folder: Path) -> None:
    for name in ("00.jpg", "01.jpg"):
        (image_folder / name).write_bytes(b"\xff\xd8broken")
    with pytest.raises(InputError, match=r"2 of 12 images are broken.*max_broken_share"):
        build(image_folder, share=0.1)


@pytest.mark.parametrize("content", ["", "roots: []", "roots: {a: 1}", "roots: [3]", "a: ["])
def test_bad_manifests(tmp_path: Path, content: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(content)
    with pytest.raises(InputError):
        read_roots(file)


def test_empty_and_missing_roots(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images under"):
        build(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        build(tmp_path / "none")
    with pytest.raises(InputError, match="no such manifest"):
        read_roots(tmp_path / "none.yaml")
    listing = tmp_path / "list.txt"
    listing.write_text("gone.jpg\n")
    with pytest.raises(InputError, match=r"gone\.jpg, which does not exist"):
        build(listing)


def test_all_broken(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("x")
    with pytest.raises(InputError, match="none of the 1 images"):
        build(tmp_path, share=1)


def test_a_val_image_is_a_leak(image_folder: Path) -> None:
    secret = image_folder / "03.jpg"
    with pytest.raises(InputError, match="detection val set"):
        build(image_folder, forbidden={sha256_of(secret): Path("val/x.jpg")})
