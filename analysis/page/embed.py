"""Data inside a page: JSON that no label can break out of, numbers in a byte each, images as data URLs."""

import base64
import io
import json
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup
from PIL import Image

# In a script element these could end it, or a line of it; in JSON's strings their escapes mean the same.
ESCAPES = str.maketrans({c: f'\\u{ord(c):04x}' for c in '<>&\u2028\u2029'})


def to_json(value: Any) -> Markup:
    """JSON for a <script type="application/json">, whatever texts it holds; NaN and infinity are refused."""
    return Markup(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':')).translate(ESCAPES))


def pack(values: Float[np.ndarray, '*lead numbers']) -> dict[str, Any]:
    """Numbers from 0, a byte each: 255 is the largest of its row, the last axis, within half a 255th of that.

    Rows have scales of their own, since attention that is spread over many tokens is small everywhere.
    """
    values = np.asarray(values, np.float32)
    scale = values.max(axis=-1, keepdims=True)
    parts = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    return {
        'shape': list(values.shape),
        'bytes': _base64(np.rint(parts * 255).astype(np.uint8).tobytes()),
        'scale': _base64(scale.astype('<f4').tobytes()),
    }


def packed_size(shape: tuple[int, ...]) -> int:
    """Characters that `pack` makes of an array of `shape`, about."""
    numbers = int(np.prod(shape))
    return (numbers + 4 * numbers // shape[-1]) * 4 // 3


def png(image: UInt8[np.ndarray, 'height width channels']) -> str:
    """An image of one or three channels as a data URL."""
    content = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(content, 'PNG', optimize=True)
    return f'data:image/png;base64,{_base64(content.getvalue())}'


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
