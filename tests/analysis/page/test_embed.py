import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from analysis.page import embed

HOSTILE = ['</script><script>alert(1)</script>', '<!--', ']]>', '&lt;', 'a\u2028b\u2029c', '\'"\\', 'ü†']


def unpacked(packed):
    """As page/maps.js reads it."""
    parts = np.frombuffer(base64.b64decode(packed['bytes']), np.uint8).reshape(packed['shape'])
    scale = np.frombuffer(base64.b64decode(packed['scale']), '<f4').reshape(*packed['shape'][:-1], 1)
    return parts / 255 * scale


def test_no_text_breaks_out_of_its_script():
    text = embed.to_json({'labels': HOSTILE, **dict.fromkeys(HOSTILE, 0)})
    assert not set(text) & set('<>&\u2028\u2029')
    assert json.loads(text)['labels'] == HOSTILE


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match='not JSON compliant'):
        embed.to_json([float('nan')])


def test_packed_numbers_are_within_half_a_255th_of_their_row_s_largest():
    weights = np.random.default_rng(0).dirichlet(np.full(16, 0.1), size=(2, 3, 16)).astype(np.float32)
    weights[0, 0, 0] = 0
    weights[1, 2, 3] = np.eye(16)[5]
    packed = embed.pack(weights)
    error = np.abs(unpacked(packed) - weights)
    assert (error <= weights.max(-1, keepdims=True) * (0.5 / 255 + 1e-6)).all()
    np.testing.assert_array_equal(unpacked(packed)[1, 2, 3], np.eye(16)[5])
    assert len(packed['bytes']) + len(packed['scale']) == pytest.approx(embed.packed_size(weights.shape), rel=0.01)


@pytest.mark.parametrize('channels', [1, 3])
def test_an_image_is_itself(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    head, _, content = embed.png(image).partition(',')
    assert head == 'data:image/png;base64'
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    np.testing.assert_array_equal(back.reshape(image.shape), image)
