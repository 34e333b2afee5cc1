"""Protocol buffers as data: the fields of a message by their numbers, without its schema.

The wire format: each field begins with a number that holds the field's own number and its kind,
then its value: a variable-length integer, 4 or 8 bytes, or a length and so many bytes, which may be
a message again. Every length is checked against the message's.
"""

from collections.abc import Iterator

from jaxface.convert.refusal import Refusal

FIXED = {1: 8, 5: 4}
VARINT, BYTES = 0, 2
LONGEST = 10
"""Bytes of an integer."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in the order of the file.

    Args:
        message: its bytes.

    Yields:
        The field's number, and its value: an integer, or the bytes of everything else.

    Raises:
        Refusal: if the message ends inside a field or has a kind that is not read.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == BYTES:
            length, place = _varint(message, place)
        elif kind in FIXED:
            length = FIXED[kind]
        else:
            raise Refusal(f"a message with a field {number} of kind {kind}, which is not read")
        if length > len(message) - place:
            raise Refusal(f"a message that ends inside its field {number}")
        yield number, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The integer there, and where it ends."""
    value = 0
    for count, byte in enumerate(message[place : place + LONGEST]):
        value |= (byte & 127) << 7 * count
        if byte < 128:
            return value, place + count + 1
    raise Refusal("a message that ends inside an integer")
