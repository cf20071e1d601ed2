"""Corruptions that are no part of an ONNX file: how it is fed, and how its answer is read.

Each takes a sound forward and returns a corrupted one, as a pipeline around the artefact would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from edgekd_export import known_faults
from edgekd_export.parity import Forward

Corruption = Callable[[Forward], Forward]


def fed(change: Callable[[np.ndarray], np.ndarray]) -> Corruption:
    """The network sees another input."""
    return lambda forward: lambda batch: forward(np.ascontiguousarray(change(batch)))


def read(change: Callable[[np.ndarray], np.ndarray]) -> Corruption:
    """The network's answer is changed."""
    return lambda forward: lambda batch: change(forward(batch).copy())


def lagging(forward: Forward) -> Forward:
    """Answers to the image before: a buffer that was read too early."""
    before: list[np.ndarray] = []

    def late(batch: np.ndarray) -> np.ndarray:
        before.append(forward(batch))
        return before[max(len(before) - 2, 0)]

    return late


def _grey(batch: np.ndarray) -> np.ndarray:
    return np.repeat(batch.mean(axis=1, keepdims=True), 3, axis=1)


def _scores(change: Callable[[np.ndarray], np.ndarray]) -> Corruption:
    """Of a raw output (B, 4 + nc, A)."""
    return read(lambda out: np.concatenate([out[:, :4], change(out[:, 4:])], axis=1))


def _boxes(change: Callable[[np.ndarray], np.ndarray]) -> Corruption:
    return read(lambda out: np.concatenate([change(out[:, :4]), out[:, 4:]], axis=1))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-values))).astype(np.float32)


def _logit(values: np.ndarray) -> np.ndarray:
    inside = np.clip(values, 1e-7, 1 - 1e-7)
    return np.log(inside / (1 - inside)).astype(np.float32)


def _corners(boxes: np.ndarray) -> np.ndarray:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _one_scale_of_int8(values: np.ndarray) -> np.ndarray:
    """What a quantised head leaves: 127 steps from 0 to the largest coordinate."""
    step = abs(values).max() / 127
    return (np.round(values / step) * step).astype(np.float32)


def _levels(num_anchors: int, side: int) -> list[slice]:
    edges = np.cumsum([0, *((side // stride) ** 2 for stride in (8, 16, 32))])
    assert edges[-1] == num_anchors
    return [slice(low, high) for low, high in pairwise(edges)]


def _wrong_stride(side: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(boxes: np.ndarray) -> np.ndarray:
        boxes[:, :, _levels(boxes.shape[2], side)[1]] *= 2
        return boxes

    return change


def _levels_reversed(side: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(out: np.ndarray) -> np.ndarray:
        parts = [out[:, :, level] for level in _levels(out.shape[2], side)]
        return np.concatenate(parts[::-1], axis=2)

    return change


def _level_lost(side: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(scores: np.ndarray) -> np.ndarray:
        scores[:, :, _levels(scores.shape[2], side)[0]] = 0
        return scores

    return change


FED: Mapping[str, Corruption] = {
    **{name: fed(fault) for name, fault in known_faults.INPUT_FAULTS.items()},
    # The gate has not been told of these.
    "channels rotated": fed(lambda batch: batch[:, [1, 2, 0]]),
    "without colour": fed(_grey),
    "image off by a cell": fed(lambda batch: np.roll(batch, 8, axis=3)),
    "one image late": lagging,
}


def read_raw(side: int) -> Mapping[str, Corruption]:
    """Wrong readings of a (B, 4 + nc, A) output with three classes."""
    return {
        "classes in another order": _scores(lambda s: s[:, [1, 0, 2]]),
        "classes off by one": _scores(lambda s: np.roll(s, 1, axis=1)),
        "scores cut off at 0.3": _scores(lambda s: np.minimum(s, np.float32(0.3))),
        "scores at least 0.01": _scores(lambda s: np.maximum(s, np.float32(0.01))),
        "sigmoid twice": _scores(_sigmoid),
        "sigmoid missing": _scores(_logit),
        "another temperature": _scores(lambda s: _sigmoid(1.2 * _logit(s))),
        "scores in 127 steps": _scores(lambda s: np.round(s * 127) / np.float32(127)),
        "corners instead of centres": _boxes(_corners),
        "sides exchanged": _boxes(lambda b: b[:, [0, 1, 3, 2]]),
        "x and y exchanged": _boxes(lambda b: b[:, [1, 0, 3, 2]]),
        "boxes as shares of the square": _boxes(lambda b: b / np.float32(side)),
        "half a pixel off": _boxes(lambda b: b + np.float32([[[0.5], [0.5], [0], [0]]])),
        "ten percent too wide": _boxes(lambda b: b * np.float32([[[1], [1], [1.1], [1]]])),
        "stride of one level doubled": _boxes(_wrong_stride(side)),
        "levels in reverse order": read(_levels_reversed(side)),
        "finest level lost": _scores(_level_lost(side)),
        "head quantised as one tensor": read(_one_scale_of_int8),
        "not a number": read(lambda out: np.where(out > 0.4, np.nan, out)),
    }


def _columns(*columns: int, change: Callable[[np.ndarray], np.ndarray]) -> Corruption:
    def on_rows(out: np.ndarray) -> np.ndarray:
        out[:, :, columns] = change(out[:, :, columns])
        return out

    return read(on_rows)


READ_ROWS: Mapping[str, Corruption] = {
    "classes in another order": _columns(5, change=lambda c: np.array([1, 0, 2])[c.astype(int)]),
    "classes off by one": _columns(5, change=lambda c: c + 1),
    "scores cut off at 0.2": _columns(4, change=lambda s: np.minimum(s, np.float32(0.2))),
    "sigmoid twice": _columns(4, change=_sigmoid),
    "another temperature": _columns(4, change=lambda s: _sigmoid(1.2 * _logit(s))),
    "centres instead of corners": _columns(
        0,
        1,
        2,
        3,
        change=lambda b: np.concatenate(
            [(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], axis=2
        ),
    ),
    "x and y exchanged": _columns(0, 1, 2, 3, change=lambda b: b[..., [1, 0, 3, 2]]),
    "half a pixel off": _columns(0, 1, 2, 3, change=lambda b: b + np.float32(0.5)),
    "boxes as shares of the square": _columns(0, 1, 2, 3, change=lambda b: b / np.float32(96)),
    "best rows lost": read(lambda out: np.concatenate([out[:, 2:], 0 * out[:, :2]], axis=1)),
}
