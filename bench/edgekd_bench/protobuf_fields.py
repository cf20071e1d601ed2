"""Walk the fields of a protobuf message without a protobuf library.

A device has ONNX Runtime but not ``onnx``; the little that is read from an ``.onnx`` there (its
metadata, the sizes of its weights) needs no more than the wire format:
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of each field: an int, or the bytes of a string or nested message.

    Raises:
        ValueError: not a protobuf message.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"protobuf wire type {wire} at byte {position}")
        if position + length > len(message):
            raise ValueError(f"protobuf field runs past the end at byte {position}")
        yield number, message[position : position + length]
        position += length


def packed_ints(message: memoryview) -> list[int]:
    """The numbers of a packed repeated field."""
    values, position = [], 0
    while position < len(message):
        value, position = _varint(message, position)
        values.append(value)
    return values


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError(f"broken protobuf number at byte {position}")
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if not byte & 0x80:
            return value, position
        shift += 7
