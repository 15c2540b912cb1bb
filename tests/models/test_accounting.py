import jax
import jax.numpy as jnp
import pytest

import models
from configs import cifar10, digits, fashion_mnist, imagenet
from data.spec import Spec
from models.accounting import count_params, forward_flops


def counts(config, shape, classes=10):
    spec = Spec('any', shape, classes, tuple(map(str, range(classes))), flip=True)
    model = models.build(config.model, spec)
    params = jax.eval_shape(model.init, jax.random.key(0))
    return count_params(params), forward_flops(model, spec)


def by_hand(config, shape, classes):
    """Params and FLOPs of an attention arm with learned_1d or fixed positions, from the formulas in papers."""
    model = config.model
    dim, hidden = model.embed_dim, round(model.mlp_ratio * model.embed_dim)
    tokens = (shape[0] // model.patch_size) * (shape[1] // model.patch_size)
    pixels = model.patch_size**2 * shape[2]
    block = 4 * dim * dim + 4 * dim + 2 * dim * hidden + hidden + dim + 4 * dim
    params = pixels * dim + dim + model.depth * block + 2 * dim + dim * classes + classes
    params += tokens * dim if model.positions.name == 'learned_1d' else 0
    dense = tokens * (pixels * dim + model.depth * (4 * dim * dim + 2 * dim * hidden)) + dim * classes
    attention = model.depth * 2 * tokens * tokens * dim
    return params, 2 * (dense + attention)


@pytest.mark.parametrize(
    ('config', 'shape', 'classes', 'params', 'flops'),
    [
        (digits.get_config(), (8, 8, 1), 10, 134_986, 4_465_920),
        (digits.get_config('tiny'), (8, 8, 1), 10, 57_706, 1_924_032),
        (fashion_mnist.get_config(), (28, 28, 1), 10, 1_199_626, 123_184_640),
        (fashion_mnist.get_config('tiny'), (28, 28, 1), 10, 138_890, 4_558_080),
        (cifar10.get_config(), (32, 32, 3), 10, 4_027_786, 539_102_976),
        (cifar10.get_config('tiny'), (32, 32, 3), 10, 157_962, 22_414_592),
        (imagenet.get_config(), (224, 224, 3), 1000, 21_974_632, 9_148_053_504),
    ],
    ids=['digits', 'digits:tiny', 'fashion', 'fashion:tiny', 'cifar10', 'cifar10:tiny', 'imagenet'],
)
def test_table_of_configs(config, shape, classes, params, flops):
    assert by_hand(config, shape, classes) == (params, flops)
    assert counts(config, shape, classes) == (params, flops)


@pytest.mark.parametrize(
    ('fields', 'params', 'flops'),
    [
        ({'model.positions.name': 'none'}, 57_706, 1_924_032),
        ({'model.positions.name': 'learned_1d'}, 58_474, 1_924_032),
        # start and drive, the GRU and the projection of its 48 channels; a batch shares their FLOPs.
        ({'model.positions.name': 'rnn'}, 57_706 + 2 * 48 + 2 * (48 * 144 + 144) + 48 * 48 + 48, 1_924_032),
        ({'model.positions.name': 'ode'}, 57_706 + 48 + (48 + 2) * 48 + (48 + 1) * 48, 1_924_032),
        ({'model.num_heads': 1}, 57_706, 1_924_032),
        # nine D x D kernels and a bias in place of attention's four and 4 D.
        ({'model.mixer': 'conv'}, 57_706 + 3 * (5 * 48 * 48 - 3 * 48), 2_882_496),
        ({'model.name': 'resnet', 'model.resnet_width': 16}, 701_178, 4_346_368),
    ],
    ids=['none', 'learned_1d', 'rnn', 'ode', 'one head', 'conv', 'resnet'],
)
def test_table_of_the_demo(fields, params, flops):
    config = digits.get_config('tiny')
    config.update_from_flattened_dict(fields)
    assert counts(config, (8, 8, 1)) == (params, flops)


def test_resnet18_has_the_published_size():
    """torchvision's ResNet-18 has 11,689,512 params and 1.81 G multiply-adds; GroupNorm has as many as BatchNorm."""
    config = imagenet.get_config()
    config.model.name = 'resnet'
    params, flops = counts(config, (224, 224, 3), 1000)
    assert params == 11_689_512
    assert flops / 2 == pytest.approx(1.81e9, rel=0.01)


@pytest.mark.parametrize('mixer', ['attention', 'conv', 'depthwise_conv', 'gru', 'identity'])
def test_flops_agree_with_xla(mixer):
    """XLA also counts elementwise work: near, not equal. It leaves out what padding multiplies, which we count."""
    config = fashion_mnist.get_config('tiny')
    config.model.patch_size, config.model.mixer = 4, mixer
    spec = Spec('any', (28, 28, 1), 10, tuple('0123456789'), flip=True)
    model = models.build(config.model, spec)
    params = jax.eval_shape(model.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.uint8)
    compiled = jax.jit(lambda params, images: model.apply(params, images).logits).lower(params, image).compile()
    xla = compiled.cost_analysis()['flops']
    # XLA's analysis counts a loop's body once, so the recurrent products of the GRU are not in its number.
    low = 0.5 if mixer == 'gru' else 0.9
    inputs = {'conv': 64, 'depthwise_conv': 1}.get(mixer, 0)  # of each output channel; 19 of 21 taps an axis are inside
    padding = 4 * 2 * 49 * 9 * 64 * inputs * (1 - (19 / 21) ** 2)
    assert low < xla / (forward_flops(model, spec) - padding) < 1.15


def looping(apply):
    model = models.Model(lambda key: {}, lambda params, images: models.Outputs(apply(images), {}), lambda params: {})
    return forward_flops(model, Spec('any', (2, 2, 1), 2, ('0', '1'), False))


def loop(x):
    return jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: x @ jnp.ones((3, 3)), x)


def test_loops_over_images_without_a_length_are_refused():
    with pytest.raises(ValueError, match='while loop over images'):
        looping(lambda images: loop(jnp.ones((len(images), 3))))


def test_loops_that_a_batch_shares_are_no_image_s():
    """Such as the solver of `ode`, whose path is the same for all."""
    assert looping(lambda images: loop(jnp.ones((3, 3)))) == 0
