"""Params and floating-point operations, counted rather than estimated."""

import math

import jax
import numpy as np
from jax.extend import core

from data.spec import Spec
from models import Model, Params


def count_params(params: Params) -> int:
    """Numbers in the tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def forward_flops(model: Model, spec: Spec) -> int:
    """FLOPs of one image's forward pass: 2 for every multiply-add of its matrix products and convolutions.

    Counted on the program that is run, so no formula can drift from the model. Norms, activations and softmax are
    left out, as papers do. Zero padding counts as if it were image, as it is computed.
    """
    params = jax.eval_shape(model.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), np.uint8)
    return _flops(jax.make_jaxpr(lambda params, images: model.apply(params, images).logits)(params, image).jaxpr)


def _flops(jaxpr: core.Jaxpr) -> int:
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: core.JaxprEqn) -> int:
    name, inputs, outputs = equation.primitive.name, equation.invars, equation.outvars
    if name == 'dot_general':
        contracted, _ = equation.params['dimension_numbers'][0]
        return 2 * outputs[0].aval.size * math.prod(inputs[0].aval.shape[axis] for axis in contracted)
    if name == 'conv_general_dilated':
        # The kernel's input-channel axis is already divided by the groups.
        kernel = equation.params['dimension_numbers'].rhs_spec
        shape = inputs[1].aval.shape
        return 2 * outputs[0].aval.size * math.prod(shape[axis] for axis in kernel[1:])
    repeats = equation.params['length'] if name == 'scan' else 1
    inner = jax.tree.leaves(equation.params, is_leaf=_is_jaxpr)
    jaxprs = [getattr(value, 'jaxpr', value) for value in inner if _is_jaxpr(value)]
    if name == 'while' and any(_flops(jaxpr) for jaxpr in jaxprs):
        raise ValueError('a while loop has no length to count FLOPs by; use lax.scan')
    return repeats * sum(_flops(jaxpr) for jaxpr in jaxprs)


def _is_jaxpr(value: object) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)
