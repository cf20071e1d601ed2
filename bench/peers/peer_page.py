"""Write the tables of docs/peers.md from the record, so that no figure is copied by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd_bench.errors import InputError
from edgekd_bench.manifest import write_text_atomically

BEGIN = "<!-- peers:begin, written by bench/peers/compare.py -->"
END = "<!-- peers:end -->"


def write_page(record: Mapping[str, Any], page: Path) -> None:
    """Put the tables between the page's two marks.

    Raises:
        InputError: no such page, or not both marks in it.
    """
    if not page.is_file():
        raise InputError(f"{page}: no such page; give the path of docs/peers.md")
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{page}: the marks '{BEGIN}' and '{END}' are not both there; add them")
    write_text_atomically(page, f"{before}{BEGIN}\n{tables(record)}\n{END}{after}")


def tables(record: Mapping[str, Any]) -> str:
    """The part between the marks, Markdown."""
    parts = [_conditions(record), "### What each reports", _tools(record)]
    parts += ["### Where a number misleads", _faults(record["faults"])]
    parts += ["### What each says when it is disturbed", _disturbances(record["disturbances"])]
    return "\n\n".join(parts)


def _conditions(record: Mapping[str, Any]) -> str:
    environment, data = record["environment"], record["data"]
    versions = ", ".join(f"{name} {text}" for name, text in record["versions"].items())
    machine = "nothing was flagged" if not record["flags"] else "; ".join(record["flags"])
    again = record["edgekd_repeatability"]
    return (
        f"Device: {environment['device_name']}, {environment['cpu_cores_usable']} cores; fp32, "
        f"batch 1, {record['image_size']} px; {data['num_images']} images of `{data['name']}`; "
        f"{record['rounds']} rounds; {record['seconds']:.0f} s in all; {versions}. "
        f"The machine meanwhile: {machine}. edgekd's 95 % interval of p50 held the median of its "
        f"runs in {again['held']} of {again['runs']} runs. Command: `{' '.join(record['command'])}`"
    )


def _tools(record: Mapping[str, Any]) -> str:
    rows = [
        [
            entry["tool"],
            entry["number"],
            f"{entry['median_ms']:.2f} [{entry['lowest_ms']:.2f}, {entry['highest_ms']:.2f}]",
            "yes" if entry["names_file_by_hash"] else "no",
            f"{entry['seconds']:.1f}",
        ]
        for entry in record["tools"]
    ]
    head = ["tool", "its number", "ms, median [lowest, highest] of the rounds", "hash", "s a run"]
    return _markdown(head, rows)


def _faults(faults: Sequence[Mapping[str, Any]]) -> str:
    keys = ["peer", "claim", "test", "reported", "edgekd", "verdict"]
    head = ["peer", "claim", "test", "it reported", "edgekd", "verdict"]
    return _markdown(head, [[fault[key] for key in keys] for fault in faults])


def _disturbances(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    names = list(found)
    tools = list(dict.fromkeys(tool for by_tool in found.values() for tool in by_tool))
    rows = [[tool, *(_observed(found[name].get(tool)) for name in names)] for tool in tools]
    return _markdown(["tool", *names], rows)


def _observed(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "not run"
    change = "no number" if entry["change"] is None else f"{entry['change']:+.0%}"
    evidence = f": {entry['evidence']}" if entry["evidence"] else ""
    return f"**{entry['outcome']}** ({change}){evidence}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
