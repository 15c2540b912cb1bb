"""Params and floating-point operations, counted rather than estimated."""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.extend import core

from data.spec import Spec
from models import Model, Params


def count_params(params: Params) -> int:
    """Numbers in the tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def forward_flops(model: Model, spec: Spec) -> int:
    """FLOPs of one more image's forward pass: 2 for every multiply-add of its matrix products and convolutions.

    Counted on the program that is run, so no formula can drift from the model. What a batch computes once, whatever
    its size (codes that a network generates), is no image's. Norms, activations and softmax are left out, as papers
    do. Zero padding counts as if it were image, as it is computed.
    """
    params = jax.eval_shape(model.init, jax.random.key(0))

    def flops(batch: int) -> Flops:
        images = jax.ShapeDtypeStruct((batch, *spec.image_shape), np.uint8)
        return _flops(jax.make_jaxpr(lambda params, images: model.apply(params, images).logits)(params, images).jaxpr)

    one, two = flops(1), flops(2)
    if one.uncounted != two.uncounted:
        raise ValueError('a while loop over images has no length to count FLOPs by; use lax.scan')
    return two.counted - one.counted


def peak_memory_bytes(program: jax.stages.Compiled) -> int:
    """The most memory that one call of a compiled program holds, its arguments included, by XLA's own plan.

    Of the program rather than of the device, whose peak would be that of the largest run of a sweep so far.
    """
    plan = program.memory_analysis()
    return plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes + plan.temp_size_in_bytes


class Flops(NamedTuple):
    """Of a program; `uncounted` are those of one turn of its while loops, whose turns nobody knows."""

    counted: int = 0
    uncounted: int = 0


def _flops(jaxpr: core.Jaxpr) -> Flops:
    parts = [_equation_flops(equation) for equation in jaxpr.eqns]
    return Flops(sum(part.counted for part in parts), sum(part.uncounted for part in parts))


def _equation_flops(equation: core.JaxprEqn) -> Flops:
    name, inputs, outputs = equation.primitive.name, equation.invars, equation.outvars
    if name == 'dot_general':
        contracted, _ = equation.params['dimension_numbers'][0]
        return Flops(2 * outputs[0].aval.size * math.prod(inputs[0].aval.shape[axis] for axis in contracted))
    if name == 'conv_general_dilated':
        # The kernel's input-channel axis is already divided by the groups.
        kernel = equation.params['dimension_numbers'].rhs_spec
        shape = inputs[1].aval.shape
        return Flops(2 * outputs[0].aval.size * math.prod(shape[axis] for axis in kernel[1:]))
    repeats = equation.params['length'] if name == 'scan' else 1
    inner = jax.tree.leaves(equation.params, is_leaf=_is_jaxpr)
    parts = [_flops(getattr(value, 'jaxpr', value)) for value in inner if _is_jaxpr(value)]
    counted, uncounted = (repeats * sum(part[index] for part in parts) for index in (0, 1))
    return Flops(0, counted + uncounted) if name == 'while' else Flops(counted, uncounted)


def _is_jaxpr(value: object) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)
