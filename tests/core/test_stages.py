"""A stage is skipped only when inputs and outputs are exactly those of its last success."""

from __future__ import annotations

from pathlib import Path

from edgekd.stages import Stamps


def test_done_only_with_same_inputs_and_untouched_outputs(tmp_path: Path) -> None:
    made = tmp_path / "made.bin"
    made.write_bytes(b"1")
    stamps = Stamps(tmp_path)
    assert not stamps.is_done("s", "a")
    stamps.mark_done("s", "a", [made])
    assert stamps.is_done("s", "a")
    assert not stamps.is_done("s", "b")
    assert not stamps.is_done("other", "a")
    made.write_bytes(b"2")
    assert not stamps.is_done("s", "a")
    made.unlink()
    assert not stamps.is_done("s", "a")


def test_a_half_written_stamp_counts_as_none(tmp_path: Path) -> None:
    made = tmp_path / "made.bin"
    made.write_bytes(b"1")
    stamps = Stamps(tmp_path)
    stamps.mark_done("s", "a", [made])
    file = tmp_path / ".stages" / "s.json"
    file.write_text(file.read_text()[:20])
    assert not stamps.is_done("s", "a")
