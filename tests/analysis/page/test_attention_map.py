"""The attention map of a paper is where the heads look from the patch that is framed."""

import numpy as np
from matplotlib.patches import Rectangle

from analysis.heads.attention import attention_parts
from analysis.heads.rollout import pooled_rollout
from analysis.page.attention_map import attention_map


def test_each_map_is_where_its_head_looks_from_the_patch_that_the_output_came_from_most(trained, images):
    one = trained('relative_bias', seed=1)
    (image,) = images(one, 1)
    weights = np.asarray(attention_parts(one, image[None]).weights)[:, :, 0]
    shares = pooled_rollout(weights)
    patch = int(np.argmax(shares[-1]))
    assert patch != np.argmax(shares[0])  # or it would show nothing of which layer is asked
    picture = attention_map(one, image, 'a title')
    lines = np.reshape(picture.figure.axes, (2, 4))
    for layer, (first, *heads, last) in enumerate(lines):
        for axes, expected in [*zip(heads, weights[layer, :, patch], strict=True), (last, shares[layer])]:
            shown = np.ravel(axes.images[1].get_array())
            np.testing.assert_allclose(shown, expected / expected.max(), rtol=1e-5)
        for axes in (first, *heads):
            (frame,) = [one for one in axes.patches if isinstance(one, Rectangle)]
            assert frame.get_xy() == (patch % 4, patch // 4)
    assert f'the patch in row {patch // 4 + 1}, column {patch % 4 + 1} of' in picture.alternative
