import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from data.spec import Spec
from models.patches import grid_coordinates
from models.resnet import group_size
from tests.draws import normal


def test_a_resnet_has_no_coordinates(built, images):
    model, params = built(name='resnet', resnet_width=16)
    with pytest.raises(ValueError, match='no tokens'):
        model.apply(params, images, coordinates=grid_coordinates((4, 4)))


@pytest.mark.parametrize('width', [1, 8, 16, 50, 56, 64])
def test_resnets_of_any_width_build(built, images, width):
    model, params = built(name='resnet', resnet_width=width)
    shape = jax.eval_shape(lambda params: model.apply(params, images).logits, params).shape
    assert shape == (4, 10)


def test_logits_are_float32_in_bfloat16_compute(config, spec, images):
    config.name, config.resnet_width = 'resnet', 16
    model = models.build(config, spec, np.dtype('bfloat16'))
    logits = jax.eval_shape(lambda params: model.apply(params, images).logits, model.shapes)
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize('width', range(7, 65))
def test_groups_are_near_the_paper_s_size_at_every_width(width):
    """Also those that models.matching finds: no stage but a narrow or a prime one has all its channels in one group."""
    for channels in (width * 2**stage for stage in range(4)):
        size = group_size(channels)
        assert channels % size == 0
        assert 7 <= size < 32 or size == width
        assert size == 16 or channels % 16 != 0
        assert size < channels or channels < 32 or channels == width


@pytest.mark.parametrize(('channels', 'size'), [(1, 1), (2, 2), (6, 6), (257, 257)])
def test_a_group_has_more_than_one_channel_where_there_are_more(channels, size):
    assert group_size(channels) == size


def convolved(x, layer, stride=1):
    pad = (layer['kernel'].shape[0] - 1) // 2
    numbers = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(x, layer['kernel'], (stride, stride), [(pad, pad)] * 2, None, None, numbers)


def normalised(x, layer):
    groups = x.reshape(*x.shape[:3], -1, group_size(x.shape[-1]))
    mean, variance = groups.mean((1, 2, 4), keepdims=True), groups.var((1, 2, 4), keepdims=True)
    return ((groups - mean) / jnp.sqrt(variance + 1e-6)).reshape(x.shape) * layer['scale'] + layer['bias']


def test_logits_are_those_of_he_s_network(built, images):
    """Of ResNet-18 written out, with CIFAR's stem and a norm behind every convolution."""
    model, params = built(name='resnet', resnet_width=16)
    leaves, rebuild = jax.tree.flatten(params)
    params = rebuild.unflatten(leaf + 0.1 * normal(seed, leaf.shape) for seed, leaf in enumerate(leaves))
    x = jax.nn.relu(normalised(convolved(images / 127.5 - 1, params['stem']), params['norm']))
    for number, block in params['blocks'].items():
        stride = 2 if int(number) in (2, 4, 6) else 1
        residual = jax.nn.relu(normalised(convolved(x, block['conv1'], stride), block['norm1']))
        residual = normalised(convolved(residual, block['conv2']), block['norm2'])
        if stride == 2:
            projection, norm = block['shortcut'].values()
            x = normalised(convolved(x, projection, stride), norm)
        x = jax.nn.relu(x + residual)
    expected = x.mean((1, 2)) @ params['head']['kernel'] + params['head']['bias']
    np.testing.assert_allclose(model.apply(params, images).logits, expected, atol=2e-4)


def test_large_images_pass_a_stem_of_stride_two_and_the_largest_of_nine_pixels(config, monkeypatch):
    """Written out, with one stage, whose blocks are their shortcuts yet."""
    monkeypatch.setattr(models.resnet, 'STAGES', (2,))
    config.name, config.resnet_width = 'resnet', 4
    model = models.build(config, Spec('some', (64, 70, 1), 2, ('a', 'b'), flip=True))
    params = model.init(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 70, 1), dtype=np.uint8)
    x = jax.nn.relu(normalised(convolved(images / 127.5 - 1, params['stem'], 2), params['norm']))
    pads = [(0, 0), (1, 1), (1, 1), (0, 0)]
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    expected = x.mean((1, 2)) @ params['head']['kernel'] + params['head']['bias']
    np.testing.assert_allclose(jax.jit(model.apply)(params, images).logits, expected, atol=1e-4)


def test_every_block_starts_as_its_shortcut(built):
    """Goyal et al. 2017, section 5.1; the other norms leave their input's scale as it is."""
    _, params = built(name='resnet', resnet_width=16)
    for block in params['blocks'].values():
        assert (block['norm2']['scale'] == 0).all()
        assert (block['norm1']['scale'] == 1).all()


def test_kernels_start_with_he_s_variance_by_fan_out(built):
    _, params = built(name='resnet', resnet_width=16)
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params['blocks']) if path[-1].key == 'kernel']
    assert len(kernels) == 16 + 3
    for kernel in kernels:
        size, _, _, outputs = kernel.shape
        np.testing.assert_allclose(kernel.std(), (2 / (size * size * outputs)) ** 0.5, rtol=0.1)


@pytest.mark.parametrize(('image', 'kernel'), [((63, 64), 3), ((64, 63), 3), ((64, 64), 7), ((224, 224), 7)])
def test_small_images_alone_have_the_stem_of_cifar(config, image, kernel):
    config.name, config.resnet_width = 'resnet', 16
    shapes = models.build(config, Spec('some', (*image, 3), 2, ('a', 'b'), flip=True)).shapes
    assert shapes['stem']['kernel'].shape == (kernel, kernel, 3, 16)
