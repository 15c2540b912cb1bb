"""The convolution of the mixers and of ResNet, so that XLA's CPU backend computes it and its gradients well.

It is jax.lax.conv_general_dilated, and the tests hold it equal to that.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import ConvDimensionNumbers
from jaxtyping import Array

from models import depthwise, winograd


class Forms(NamedTuple):
    """How a convolution is computed, and how its gradients are."""

    convolve: Callable[[Array, Array], Array]  # image, kernel
    to_image: Callable[[Array, Array], Array]  # gradient, kernel
    to_kernel: Callable[[Array, Array], Array]  # image, gradient


def convolve(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    dimension_numbers: Any,
    feature_group_count: int = 1,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    **options: Any,
) -> Array:
    """jax.lax.conv_general_dilated, with a gradient that reads `x` where the forward pass read it.

    XLA would rather work out anew, transposed for the gradient of the kernel, all the norms and sums of earlier blocks
    that `x` was made of; on the CPU that took as long as some of the convolutions.

    Raises:
      ValueError: the image or the kernel is dilated.
    """
    for name, dilation in {'lhs_dilation': lhs_dilation, 'rhs_dilation': rhs_dilation}.items():
        if any(step != 1 for step in dilation or ()):
            raise ValueError(f'{name}={tuple(dilation)} is not computed here; jax.lax.conv_general_dilated would do')
    numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers)
    sides, sizes = _spatial(x, numbers.lhs_spec), _spatial(kernel, numbers.rhs_spec)
    pads = jax.lax.padtype_to_pads(sides, sizes, strides, padding) if isinstance(padding, str) else padding
    options |= {'dimension_numbers': numbers, 'feature_group_count': feature_group_count}
    plain = _plain(x, kernel, strides, pads, **options)
    simple = _is_simple(strides, numbers)
    if simple and feature_group_count == x.shape[-1] == kernel.shape[-1] > 1:
        to_kernel = functools.partial(depthwise.to_kernel, sizes=sizes)
        by_sums = Forms(depthwise.depthwise, depthwise.to_image, to_kernel)
        return _differentiable(_on_cpu(by_sums, plain, pads=pads))(x, kernel)
    dense = simple and feature_group_count == 1 and x.dtype == kernel.dtype == jnp.float32
    if plan := winograd.plan(x.shape, kernel.shape, pads) if dense else None:
        by_tiles = Forms(winograd.convolve, winograd.to_image, winograd.to_kernel)
        # Its values of tiles are the forward pass's as well, which XLA sees where no barrier is between.
        return _differentiable(_on_cpu(by_tiles, plain, plan=plan), barrier=False)(x, kernel)
    roomy = plain._replace(convolve=functools.partial(_convolve_roomy, strides=strides, pads=pads, **options))
    if feature_group_count == 1:
        to_image = functools.partial(_to_image, sides=sides, strides=strides, pads=pads, **options)
        roomy = roomy._replace(to_image=to_image)
    return _differentiable(roomy)(x, kernel)


def _differentiable(forms: Forms, barrier: bool = True) -> Callable[[Array, Array], Array]:
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


def _plain(x: Array, kernel: Array, strides: Sequence[int], pads: Sequence[tuple[int, int]], **options: Any) -> Forms:
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


def _is_simple(strides: Sequence[int], numbers: ConvDimensionNumbers) -> bool:
    """Whether it moves by one pixel, and has its channels last."""
    return numbers == ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)) and all(
        step == 1 for step in strides
    )


def _to_image(
    gradient: Array,
    kernel: Array,
    sides: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    *,
    dimension_numbers: ConvDimensionNumbers,
    **options: Any,
) -> Array:
    """The gradient of an image of these `sides`: the convolution that jax.linear_transpose makes, but a roomy one."""
    of_image, (outputs, inputs, *spatial), of_output = dimension_numbers
    turned = [
        (size - 1 - low, side - stride * (out - 1) - 1 + low)
        for side, size, stride, (low, _), out in zip(
            sides,
            _spatial(kernel, dimension_numbers.rhs_spec),
            strides,
            pads,
            _spatial(gradient, of_output),
            strict=True,
        )
    ]
    options['lhs_dilation'] = strides
    options['dimension_numbers'] = ConvDimensionNumbers(of_output, (inputs, outputs, *spatial), of_image)
    return _convolve_roomy(gradient, jax.lax.rev(kernel, spatial), (1,) * len(strides), turned, **options)


def _convolve_roomy(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    *,
    dimension_numbers: ConvDimensionNumbers,
    lhs_dilation: Sequence[int] | None = None,
    **options: Any,
) -> Array:
    """jax.lax.conv_general_dilated of an image that is at least as large as the kernel.

    XLA's CPU backend takes plain loops for smaller ones, which are thirty times slower. So as much of the padding as
    is lacking becomes part of the image, behind a barrier, since XLA would take it back.
    """
    spec, dilation = dimension_numbers.lhs_spec, lhs_dilation or (1,) * len(strides)
    sides, sizes = _spatial(x, spec), _spatial(kernel, dimension_numbers.rhs_spec)
    lacks = [max(0, size - side) for side, size in zip(sides, sizes, strict=True)]
    if any(lacks) and jax.default_backend() == 'cpu':
        before = [min(lack, low // apart) for lack, (low, _), apart in zip(lacks, pads, dilation, strict=True)]
        after = [lack - low for lack, low in zip(lacks, before, strict=True)]
        widths = dict(zip(spec[2:], zip(before, after, strict=True), strict=True))
        x = jax.lax.optimization_barrier(jnp.pad(x, [widths.get(axis, (0, 0)) for axis in range(x.ndim)]))
        pads = [
            (low - apart * first, high - apart * last)
            for (low, high), apart, first, last in zip(pads, dilation, before, after, strict=True)
        ]
    return jax.lax.conv_general_dilated(
        x, kernel, strides, pads, lhs_dilation=dilation, dimension_numbers=dimension_numbers, **options
    )


def _spatial(array: Array, spec: Sequence[int]) -> list[int]:
    """Its sides, by a specification of jax.lax.ConvDimensionNumbers: two other axes, then the spatial ones."""
    return [array.shape[axis] for axis in spec[2:]]
