import jax
import jax.numpy as jnp
import pytest

import models
from configs import cifar10, digit_pairs, digits, fashion_mnist, imagenet
from data.spec import Spec
from models.accounting import count_params, forward_flops, peak_memory_bytes, train_step_flops
from training.optimiser import Rates
from training.step import make_train_step, state_shapes


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
        (digit_pairs.get_config(), (48, 48, 1), 2, 41_234, 3_373_248),
        (fashion_mnist.get_config(), (28, 28, 1), 10, 1_199_626, 123_184_640),
        (fashion_mnist.get_config('tiny'), (28, 28, 1), 10, 138_890, 4_558_080),
        (cifar10.get_config(), (32, 32, 3), 10, 4_027_786, 539_102_976),
        (cifar10.get_config('tiny'), (32, 32, 3), 10, 157_962, 22_414_592),
        (imagenet.get_config(), (224, 224, 3), 1000, 21_974_632, 9_148_053_504),
    ],
    ids=['digits', 'digits:tiny', 'digit_pairs', 'fashion', 'fashion:tiny', 'cifar10', 'cifar10:tiny', 'imagenet'],
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
    model = models.Model(lambda _: {}, lambda _, images: models.Outputs(apply(images), {}), lambda _: {}, {})
    return forward_flops(model, Spec('any', (2, 2, 1), 2, ('0', '1'), False))


def loop(x):
    return jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: x @ jnp.ones((3, 3)), x)


def test_loops_over_images_without_a_length_are_refused():
    with pytest.raises(ValueError, match='while loop over images'):
        looping(lambda images: loop(jnp.ones((len(images), 3))))


def test_loops_that_a_batch_shares_are_no_image_s():
    """Such as the solver of `ode`, whose path is the same for all."""
    assert looping(lambda images: loop(jnp.ones((3, 3)))) == 0


BATCH = 4


def traced_step(mixer, size=28):
    """A training step of one block, without augmentation; 'resnet' is the model of that name."""
    config = fashion_mnist.get_config('tiny')
    config.model.patch_size, config.model.depth = 4, 1
    config.data.augment.crop, config.data.augment.flip = 0, False
    if mixer == 'resnet':
        config.model.name, config.model.resnet_width = 'resnet', 16
    else:
        config.model.mixer = mixer
    spec = Spec('any', (size, size, 1), 10, tuple('0123456789'), flip=True)
    model = models.build(config.model, spec)
    state = state_shapes(config, model)
    batch = jax.ShapeDtypeStruct((BATCH, size, size, 1), jnp.uint8), jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    step = jax.jit(make_train_step(config, model, total_steps=10))
    traced = step.trace(state, jax.random.key(0), Rates.of(config.train), *batch)
    return traced, forward_flops(model, spec), config.model.embed_dim


def unseen_by_xla(mixer, tokens, dim):
    """What XLA's cost analysis leaves out of a block's mixer, forward and twice that backward; 7 x 7 tokens."""
    inputs = {'conv': dim, 'depthwise_conv': 1}.get(mixer, 0)  # of each output channel
    padding = 2 * tokens * 9 * dim * inputs * (1 - (19 / 21) ** 2)  # 19 of 21 taps an axis are inside
    # A loop's body is counted once, not once for each token. Two directions, half of the channels each.
    loops = 2 * (tokens - 1) * 2 * (dim // 2) * (3 * dim // 2) if mixer == 'gru' else 0
    return 3 * BATCH * (padding + loops)


@pytest.mark.parametrize('mixer', ['attention', 'conv', 'depthwise_conv', 'gru', 'identity'])
def test_a_step_s_flops_agree_with_xla(mixer):
    """XLA also counts elementwise work, 3 to 9% here; what else differs is known.

    Of the program as lowered: on a CPU, XLA then rewrites the gradient of a depthwise convolution as a dense one.
    """
    traced, _, dim = traced_step(mixer)
    xla = traced.lower().cost_analysis()['flops']
    assert 1 < xla / (train_step_flops(traced) - unseen_by_xla(mixer, 49, dim)) < 1.1


def test_a_compiled_step_hides_no_flops():
    """Where a backend calls a library for its products, cost analysis would not see them; the CPU's does not."""
    traced, _, _ = traced_step('attention')
    assert 1 < traced.lower().compile().cost_analysis()['flops'] / train_step_flops(traced) < 1.1


def test_a_step_s_flops_of_a_resnet_agree_with_xla():
    """XLA leaves out padding, less of a large image, and like us the zeros in strided convolutions' gradients."""
    ratios = []
    for size in (28, 56):
        traced, _, _ = traced_step('resnet', size)
        ratios.append(traced.lower().cost_analysis()['flops'] / train_step_flops(traced))
    assert 0.85 < ratios[0] < ratios[1] < 1


@pytest.mark.parametrize(('mixer', 'size'), [('attention', 28), ('conv', 28), ('gru', 28), ('resnet', 32)])
def test_a_step_costs_three_times_its_forward_pass(mixer, size):
    """Backward twice as much as forward, but for the first layer: nobody asks for the gradient of an image.

    Convolutions of stride 2 count fewer taps backwards where a side is odd, so the ResNet's are all even.
    """
    traced, forward, _ = traced_step(mixer, size)
    assert 0.96 < train_step_flops(traced) / (3 * BATCH * forward) < 1


def flops(function, *arguments):
    return train_step_flops(jax.jit(function).trace(*arguments))


def product(x):
    return x @ x


SQUARE = jnp.ones((4, 4))
ONE = 2 * 4**3


@jax.custom_vjp
def with_own_gradient(x):
    return product(x)


with_own_gradient.defvjp(lambda x: (product(x), x), lambda x, gradient: (gradient @ x + x @ gradient + x @ x,))


@jax.custom_jvp
def with_own_tangent(x):
    return product(x)


with_own_tangent.defjvp(lambda primals, tangents: (product(*primals), tangents[0] @ primals[0]))


def scanned(x):
    return jax.lax.scan(lambda carry, _: (carry @ x, None), x, length=5)[0]


def sharded(x):
    mesh = jax.sharding.AbstractMesh((2,), ('members',), axis_types=(jax.sharding.AxisType.Auto,))
    across = jax.sharding.PartitionSpec('members')
    return jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=across, out_specs=across)(x)


@pytest.mark.parametrize(
    ('function', 'products'),
    [
        (product, 1),
        (jax.grad(lambda x: product(x).sum()), 3),
        (with_own_gradient, 1),
        (jax.grad(lambda x: with_own_gradient(x).sum()), 4),
        (with_own_tangent, 1),
        (jax.grad(lambda x: with_own_tangent(x).sum()), 2),
        (scanned, 5),
        (jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(product(x)))(x).sum()), 4),
        (lambda x: jax.lax.cond(x.sum() > 0, lambda x: product(product(x)), product, x), 2),
        (jax.vmap(product, in_axes=0), None),
        (sharded, 1 / 2),  # two devices, each half of the rows with half
        (jax.jit(product), 1),
    ],
    ids=[
        *('plain', 'gradient', 'custom_vjp', 'its gradient', 'custom_jvp', 'its gradient too', 'scan', 'checkpoint'),
        *('cond', 'vmap', 'shard_map', 'jit'),
    ],
)
def test_products_are_found_wherever_they_stand(function, products):
    arguments = jnp.ones((3, 4, 4)) if products is None else SQUARE
    assert flops(function, arguments) == ONE * (3 if products is None else products)


def convolve(image, kernel, stride=1, groups=1):
    return jax.lax.conv_general_dilated(
        image, kernel, (stride, stride), ((1, 1), (1, 1)), feature_group_count=groups,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )  # fmt: skip


@pytest.mark.parametrize(('stride', 'groups'), [(1, 1), (1, 6), (2, 1), (2, 6)])
def test_the_gradients_of_a_convolution_cost_what_it_costs(stride, groups):
    """Each of the two: the zeros between the pixels of a strided one's gradient are not counted."""
    image, kernel = jnp.ones((5, 8, 8, 6)), jnp.ones((3, 3, 6 // groups, 12))
    forward = flops(lambda *both: convolve(*both, stride, groups), image, kernel)
    assert forward == 2 * 5 * (8 // stride) ** 2 * 12 * 9 * 6 // groups
    both = flops(jax.grad(lambda *both: convolve(*both, stride, groups).sum() ** 2, argnums=(0, 1)), image, kernel)
    assert both == 3 * forward


def test_a_population_costs_what_its_members_cost():
    """A vmap over kernels makes a grouped convolution."""
    images, kernels = jnp.ones((3, 5, 8, 8, 6)), jnp.ones((3, 3, 3, 6, 12))
    assert flops(jax.vmap(convolve), images, kernels) == 3 * flops(convolve, images[0], kernels[0])


def test_a_kernel_that_cannot_be_looked_into_is_refused():
    from jax.experimental import pallas

    def copy(source, target):
        target[...] = source[...] @ source[...]

    with pytest.raises(ValueError, match='pallas_call cannot be looked into'):
        flops(pallas.pallas_call(copy, jax.ShapeDtypeStruct((4, 4), jnp.float32)), SQUARE)


def test_memory_that_a_program_may_write_over_counts_once():
    """As params are, which a step takes and gives back."""
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    kept, given = (jax.jit(lambda x: x + 1, donate_argnums=donated).lower(x).compile() for donated in ((), (0,)))
    assert peak_memory_bytes(kept) - peak_memory_bytes(given) == 4 * 256**2
