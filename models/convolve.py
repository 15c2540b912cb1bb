"""The convolution of the mixers and of ResNet, so that XLA's CPU backend computes it and its gradients well.

It is jax.lax.conv_general_dilated, and the tests hold it equal to that.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import ConvDimensionNumbers
from jaxtyping import Array, Float

from models import depthwise, winograd
from models.depthwise import Pads

Image = Float[Array, 'batch height width inputs']
Kernel = Float[Array, 'rows columns inputs_of_a_group outputs']
Convolved = Float[Array, 'batch new_height new_width outputs']
Strides = Sequence[int]  # down the rows, and along the columns

CHANNELS_LAST = ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO, NHWC


class Forms(NamedTuple):
    """How a convolution is computed, and how its gradients are."""

    convolve: Callable[[Image, Kernel], Convolved]
    to_image: Callable[[Convolved, Kernel], Image]  # from the gradient of what it returned
    to_kernel: Callable[[Image, Convolved], Kernel]  # likewise


def convolve(
    x: Image,
    kernel: Kernel,
    strides: Strides,
    padding: str | Pads,
    *,
    dimension_numbers: Any,
    feature_group_count: int = 1,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    **options: Any,
) -> Convolved:
    """jax.lax.conv_general_dilated of images, with a gradient that reads `x` where the forward pass read it.

    XLA would rather work out anew, transposed for the gradient of the kernel, all the norms and sums of earlier blocks
    that `x` was made of; on the CPU that took as long as some of the convolutions.

    Raises:
      ValueError: the image or the kernel is dilated, or the channels are not last (NHWC, HWIO).
    """
    for name, dilation in {'lhs_dilation': lhs_dilation, 'rhs_dilation': rhs_dilation}.items():
        if any(step != 1 for step in dilation or ()):
            raise ValueError(f'{name}={tuple(dilation)} is not computed here; jax.lax.conv_general_dilated would do')
    if jax.lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers) != CHANNELS_LAST:
        raise ValueError(f"{dimension_numbers=} is not computed here; ('NHWC', 'HWIO', 'NHWC') would do")
    named = isinstance(padding, str)
    pads = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding) if named else padding
    options |= {'dimension_numbers': CHANNELS_LAST, 'feature_group_count': feature_group_count}
    plain = _plain(x, kernel, strides, pads, **options)
    if tuple(strides) == (1, 1):
        if feature_group_count == x.shape[-1] == kernel.shape[-1] > 1:
            to_kernel = functools.partial(depthwise.to_kernel, sizes=kernel.shape[:2])
            by_sums = Forms(depthwise.depthwise, depthwise.to_image, to_kernel)
            return _differentiable(_on_cpu(by_sums, plain, pads=pads))(x, kernel)
        dense = feature_group_count == 1 and x.dtype == kernel.dtype == jnp.float32
        if plan := winograd.plan(x.shape, kernel.shape, pads) if dense else None:
            by_tiles = Forms(winograd.convolve, winograd.to_image, winograd.to_kernel)
            # Its values of tiles are the forward pass's as well, which XLA sees where no barrier is between.
            return _differentiable(_on_cpu(by_tiles, plain, plan=plan), barrier=False)(x, kernel)
    roomy = plain._replace(convolve=functools.partial(_convolve_roomy, strides=strides, pads=pads, **options))
    if feature_group_count == 1:
        to_image = functools.partial(_to_image, sides=x.shape[1:3], strides=strides, pads=pads, **options)
        roomy = roomy._replace(to_image=to_image)
    return _differentiable(roomy)(x, kernel)


def _differentiable(forms: Forms, barrier: bool = True) -> Callable[[Image, Kernel], Convolved]:
    """The convolution with the gradients of `forms`, which read its arguments behind a barrier or as they are."""

    @jax.custom_vjp
    def convolution(x, kernel):
        return forms.convolve(x, kernel)

    def forward(x, kernel):
        return forms.convolve(x, kernel), (x, kernel)

    def backward(saved, gradient):
        x, kernel = jax.lax.optimization_barrier(saved) if barrier else saved
        return forms.to_image(gradient, kernel), forms.to_kernel(x, gradient)

    convolution.defvjp(forward, backward)
    return convolution


def _plain(x: Image, kernel: Kernel, strides: Strides, pads: Pads, **options: Any) -> Forms:
    """XLA's convolution of arrays like these, and what it makes of the gradients."""
    image, weights = jax.typeof(x), jax.typeof(kernel)

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, strides, pads, **options)

    # Transposes of what is linear in each argument; jax.vjp would trace the forward pass once more.
    def to_image(gradient, kernel):
        return jax.linear_transpose(lambda x: convolve(x, kernel), image)(gradient)[0]

    def to_kernel(x, gradient):
        return jax.linear_transpose(lambda kernel: convolve(x, kernel), weights)(gradient)[0]

    return Forms(convolve, to_image, to_kernel)


def _on_cpu(there: Forms, elsewhere: Forms, **options: Any) -> Forms:
    """One of each two functions that compute the same, by where the program will run; `options` are for `there`.

    By where it is lowered for rather than by the backend: of the two models.accounting counts the dearer, and so sees a
    plain convolution on a CPU too, whose own forms have products that are others', or none.
    """
    return Forms(
        *(
            functools.partial(jax.lax.platform_dependent, cpu=functools.partial(one, **options), default=other)
            for one, other in zip(there, elsewhere, strict=True)
        )
    )


def _to_image(
    gradient: Convolved, kernel: Kernel, sides: Sequence[int], strides: Strides, pads: Pads, **options: Any
) -> Image:
    """The gradient of an image of these `sides`: the convolution that jax.linear_transpose makes, but a roomy one."""
    turned = [
        (size - 1 - low, side - stride * (out - 1) - 1 + low)
        for side, size, stride, (low, _), out in zip(
            sides, kernel.shape[:2], strides, pads, gradient.shape[1:3], strict=True
        )
    ]
    of_image, (outputs, inputs, *spatial), of_output = options['dimension_numbers']
    options['dimension_numbers'] = ConvDimensionNumbers(of_output, (inputs, outputs, *spatial), of_image)
    turned_kernel = jax.lax.rev(kernel, spatial)
    return _convolve_roomy(gradient, turned_kernel, (1, 1), turned, lhs_dilation=strides, **options)


def _convolve_roomy(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns some others'],
    strides: Strides,
    pads: Pads,
    *,
    lhs_dilation: Sequence[int] = (1, 1),
    **options: Any,
) -> Float[Array, 'batch new_height new_width new_channels']:
    """jax.lax.conv_general_dilated of an image, or of a gradient, that is at least as large as the kernel.

    XLA's CPU backend takes plain loops for smaller ones, which are thirty times slower. So as much of the padding as
    is lacking becomes part of the image, behind a barrier, since XLA would take it back.
    """
    lacks = [max(0, size - side) for side, size in zip(x.shape[1:3], kernel.shape[:2], strict=True)]
    if any(lacks) and jax.default_backend() == 'cpu':
        before = [min(lack, low // apart) for lack, (low, _), apart in zip(lacks, pads, lhs_dilation, strict=True)]
        after = [lack - low for lack, low in zip(lacks, before, strict=True)]
        x = jax.lax.optimization_barrier(jnp.pad(x, [(0, 0), *zip(before, after, strict=True), (0, 0)]))
        pads = [
            (low - apart * first, high - apart * last)
            for (low, high), apart, first, last in zip(pads, lhs_dilation, before, after, strict=True)
        ]
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, lhs_dilation=lhs_dilation, **options)
