"""Arrow arrays from plain Python values, buffer by buffer.

`pyarrow.array` imports pandas only to recognize pandas values. The import takes a fifth of a polling process's memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

_CODES = {2: "h", 4: "i", 8: "q"}  # bytes per number: type code of `array`


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as an array. None becomes NULL.

    Values are strings, bytes, integers, booleans, or times as integers in the unit of `kind`.
    """
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        pieces = [value.encode() if isinstance(value, str) else value or b"" for value in values]
        offsets = array("i", accumulate(map(len, pieces), initial=0))
        buffers = [pa.py_buffer(offsets), pa.py_buffer(b"".join(pieces))]
    elif pa.types.is_boolean(kind):
        buffers = [_bits(bool(value) for value in values)]
    else:
        buffers = [pa.py_buffer(array(_CODES[kind.byte_width], [value or 0 for value in values]))]
    return pa.Array.from_buffers(kind, len(values), [_validity(values), *buffers])


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    if None not in values:
        return None
    return _bits(value is not None for value in values)


def _bits(flags: Iterable[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.fromiter(flags, bool), bitorder="little"))
