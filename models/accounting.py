"""Params and floating-point operations, counted rather than estimated.

A FLOP here is half a multiply-add of a matrix product or a convolution; norms, activations and softmax are left out,
as papers do. Counted on the program that is run, so no formula can drift from the model:

- Zero padding counts as if it were image, as it is computed. The zeros that the gradient of a strided convolution puts
  between pixels do not count, though some backends multiply by them too: they are no pixel of anything, and without
  them the backward pass of a convolution costs twice its forward pass, as in papers.
- A convolution counts as one where it is computed with fewer multiplications too (models/winograd.py).
- A scan counts as often as it turns, a conditional as its dearest branch, a shard_map on every device.
- What jax.checkpoint computes a second time counts a second time. Model FLOPs, those of an MFU (Chowdhery et al. 2022,
  arXiv:2204.02311, appendix B), leave that out: count a program without it.
- A kernel that cannot be looked into (Pallas, cuDNN, a foreign function) is refused: count the same computation
  without it.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.extend import core

from data.spec import Spec
from models.model import Model, Params


def count_params(params: Params) -> int:
    """Numbers in the tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def forward_flops(model: Model, spec: Spec) -> int:
    """FLOPs of one more image's forward pass: 2 for every multiply-add of its matrix products and convolutions.

    What is computed once for a batch of any size, such as codes that a network generates, is not counted.

    Raises:
      Opaque: it holds a kernel that cannot be looked into.
    """
    forward = jax.make_jaxpr(lambda params, images: model.apply(params, images).logits)

    def flops(batch: int) -> Flops:
        images = jax.ShapeDtypeStruct((batch, *spec.image_shape), np.uint8)
        return _flops(forward(model.shapes, images).jaxpr)

    one, two = flops(1), flops(2)
    if one.uncounted != two.uncounted:
        raise ValueError('a while loop over images has no length to count FLOPs by; use lax.scan')
    return two.counted - one.counted


def train_step_flops(step: jax.stages.Traced, *, looped: bool = False) -> int:
    """FLOPs of a step of a traced training program: forward, backward and the optimiser's matrix products, if any.

    Of the whole batch, on all devices; of one member where `step` trains one. Loops of unknown length, such as the
    solver of the position encoding `ode`, whose path a batch shares, are left out.

    Args:
      step: `jax.jit(train_step).trace(...)`, whose `lower().compile()` is then what runs: tracing is done once.
      looped: whether it is a loop over steps, a turn of which is one.
    Raises:
      Opaque: it holds a kernel that cannot be looked into.
    """
    program, devices = step.jaxpr.jaxpr, 1
    if looped:
        for spread in (equation for equation in program.eqns if equation.primitive.name == 'shard_map'):
            program, devices = spread.params['jaxpr'], _repeats(spread)  # of a device, which has members of its own
        (loop,) = (equation for equation in program.eqns if equation.primitive.name in ('while', 'scan'))
        # A loop whose number of turns is known is a scan.
        program = loop.params['jaxpr' if loop.primitive.name == 'scan' else 'body_jaxpr'].jaxpr
    return devices * _flops(program).counted


def peak_memory_bytes(program: jax.stages.Compiled) -> int:
    """The most memory that one call of a compiled program holds, its arguments included, by XLA's own plan.

    Of the program rather than of the device, whose peak would be that of the largest run of a sweep so far.
    """
    plan = program.memory_analysis()
    return plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes + plan.temp_size_in_bytes


# What hides its FLOPs from a jaxpr. cuDNN's attention is called dot_product_attention_fwd and _bwd there.
OPAQUE = ('pallas_call', 'dot_product_attention', 'ffi_call')


class Opaque(ValueError):
    """A kernel hides its FLOPs."""


class Flops(NamedTuple):
    """Of a program; `uncounted` are those of one turn of its while loops, whose turns nobody knows."""

    counted: int = 0
    uncounted: int = 0


JAXPRS = core.Jaxpr, core.ClosedJaxpr  # among the parameters of an equation: programs inside it


def _flops(jaxpr: core.Jaxpr) -> Flops:
    parts = [_equation_flops(equation) for equation in jaxpr.eqns]
    return Flops(sum(part.counted for part in parts), sum(part.uncounted for part in parts))


def _equation_flops(equation: core.JaxprEqn) -> Flops:
    name, inputs, outputs = equation.primitive.name, equation.invars, equation.outvars
    if name == 'dot_general':
        contracted, _ = equation.params['dimension_numbers'][0]
        return Flops(2 * outputs[0].aval.size * math.prod(inputs[0].aval.shape[axis] for axis in contracted))
    if name == 'conv_general_dilated':
        return Flops(_convolution_flops(equation))
    if name.startswith(OPAQUE):
        raise Opaque(f'{name} cannot be looked into; count FLOPs on a program that computes the same without it')
    params = jax.tree.leaves(equation.params, is_leaf=lambda value: isinstance(value, JAXPRS))
    inner = [value for value in params if isinstance(value, JAXPRS)]
    if not inner:
        return Flops()
    parts = [_flops(getattr(one, 'jaxpr', one)) for one in inner]
    if name == 'cond':
        return max(parts)
    turns = _repeats(equation)
    counted, uncounted = (turns * sum(part[index] for part in parts) for index in (0, 1))
    return Flops(0, counted + uncounted) if name == 'while' else Flops(counted, uncounted)


def _repeats(equation: core.JaxprEqn) -> int:
    """How often the program inside an equation runs, where that is known."""
    if equation.primitive.name == 'scan':
        return equation.params['length']
    if equation.primitive.name == 'shard_map':
        return math.prod(equation.params['mesh'].shape[axis] for axis in equation.params['newly_manual_axes'])
    return 1


def _convolution_flops(equation: core.JaxprEqn) -> int:
    kernel, output = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    _, of_kernel, of_output = equation.params['dimension_numbers']
    steps = [equation.params[name] for name in ('window_strides', 'padding', 'lhs_dilation', 'rhs_dilation')]
    taps = [
        _taps(output[out], kernel[inside], stride, low, between, apart)
        for out, inside, stride, (low, _), between, apart in zip(of_output[2:], of_kernel[2:], *steps, strict=True)
    ]
    # The kernel's input-channel axis is already divided by the groups.
    channels = output[of_output[0]] * output[of_output[1]] * kernel[of_kernel[1]]
    return 2 * channels * math.prod(taps)


def _taps(outputs: int, size: int, stride: int, low: int, between: int, apart: int) -> int:
    """Pairs along one axis of an output and a tap of the kernel that reads a pixel, or padding where one would be.

    Every `between`-th place is one; the zeros in between are a dilated input's (conv_general_dilated's lhs_dilation).
    """
    places = stride * np.arange(outputs)[:, None] + apart * np.arange(size) - low
    return int(np.count_nonzero(places % between == 0))
