import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import winograd
from models.accounting import train_step_flops
from models.convolve import convolve
from tests.draws import normal
from training.compiling.xla_options import KEEP_BARRIERS, SUMS_ALONE

OPTIONS = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}
SAME = ((1, 1), (1, 1))


def _plain(x, kernel, pads=SAME):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, **OPTIONS)


def _error(ours, exact):
    return np.sqrt(np.mean((ours - exact) ** 2) / np.mean(exact**2))


def _plan(batch, side, channels, taps=3):
    pads = ((taps // 2, taps // 2),) * 2
    return winograd.plan((batch, side, side, channels), (taps, taps, channels, channels), pads)


CASES = [
    ((4, 4), (3, 3), SAME),
    ((7, 5), (3, 3), ((1, 1), (0, 2))),
    ((6, 9), (3, 2), ((0, 0), (3, 1))),
    ((2, 1), (3, 3), SAME),
    ((9, 8), (5, 5), ((2, 2), (2, 2))),
    ((5, 5), (1, 1), ((0, 0), (0, 0))),
    ((8, 8), (3, 3), ((-1, 1), (1, -2))),
]


@pytest.mark.parametrize('at_once', [True, False])
@pytest.mark.parametrize(
    ('tile', 'sides', 'taps', 'pads'),
    [(tile, *case) for tile in winograd.POINTS for case in CASES if tile > max(case[1])],
)
@pytest.mark.parametrize('batch', [1, 3])
def test_every_plan_is_the_convolution_and_has_its_gradients(batch, sides, taps, pads, tile, at_once):
    """Whether tiles end with the image or beyond it, and are fewer or more than the channels."""
    axes = tuple(winograd.Axis(side, tap, *pad) for side, tap, pad in zip(sides, taps, pads, strict=True))
    plan = winograd.Plan(tile, at_once, axes)
    x, kernel = normal(0, (batch, *sides, 3)), normal(1, (*taps, 3, 5))
    convolved, transpose = jax.vjp(lambda x, kernel: _plain(x, kernel, pads), x, kernel)
    gradient = normal(2, convolved.shape)
    to_image, to_kernel = transpose(gradient)
    for ours, exact in (
        (winograd.convolve(x, kernel, plan), convolved),
        (winograd.to_image(gradient, kernel, plan), to_image),
        (winograd.to_kernel(x, gradient, plan), to_kernel),
    ):
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize(('tile', 'times'), [(4, 2), (6, 6)])
def test_it_rounds_a_few_times_as_much_as_a_convolution(tile, times):
    """Against sums in float64 over many channels, of images that are not centred, as after a ReLU."""
    x, kernel = jnp.abs(normal(0, (2, 8, 8, 256))), normal(1, (3, 3, 256, 16))
    plan = winograd.Plan(tile, True, (winograd.Axis(8, 3, 1, 1),) * 2)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    exact = np.einsum('nhwikl,klio->nhwo', windows, np.asarray(kernel, np.float64))
    assert _error(winograd.convolve(x, kernel, plan), exact) < times * _error(_plain(x, kernel), exact)


def test_a_plan_takes_fewer_multiplications_where_there_are_enough_of_them():
    """None for few channels or images, which evaluating would cost more than it saves, or for kernels as large."""
    assert _plan(16, 8, 256)[:2] == (6, True)
    assert _plan(16, 16, 128)[:2] == (6, False)
    assert _plan(16, 4, 512)[:2] == (4, True)  # kernels of 36 numbers would be too many for 16 tiles
    assert _plan(1, 8, 256) is None
    assert _plan(128, 8, 8) is None
    assert _plan(128, 28, 64) is None
    assert _plan(64, 8, 256, taps=1) is None
    assert _plan(64, 8, 256, taps=7) is None


def test_the_program_for_a_cpu_alone_has_it():
    """Elsewhere, and in bfloat16, it is a convolution; and FLOPs are counted as a convolution's."""
    step = jax.grad(lambda x, kernel: jnp.sum(convolve(x, kernel, (1, 1), 'SAME', **OPTIONS) ** 2), (0, 1))
    x, kernel = normal(0, (64, 4, 4, 64)), normal(1, (3, 3, 64, 64))
    traced = jax.jit(step).trace(x, kernel)
    assert 'stablehlo.convolution' not in traced.lower(lowering_platforms=('cpu',)).as_text()
    assert traced.lower(lowering_platforms=('cuda',)).as_text().count('stablehlo.convolution') == 3
    half = jax.jit(step).trace(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert half.lower(lowering_platforms=('cpu',)).as_text().count('stablehlo.convolution') == 3
    assert train_step_flops(traced) == 3 * 2 * 64 * 4 * 4 * 9 * 64 * 64


def test_both_passes_share_what_they_evaluate():
    """Image, kernel and gradient once each, three products, and three times back: nine products of matrices."""
    step = jax.value_and_grad(
        lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel, (1, 1), 'SAME', **OPTIONS))), (0, 1)
    )
    program = (
        jax.jit(step).lower(normal(0, (64, 4, 4, 64)), normal(1, (3, 3, 64, 64))).compile(SUMS_ALONE | KEEP_BARRIERS)
    )
    assert program.as_text().count(' dot(') == 9
