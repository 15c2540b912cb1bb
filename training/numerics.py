"""Which operation of a step was the first to make a NaN or an infinity out of finite numbers.

JAX's own jax_debug_nans and jax_debug_infs watch every program of a process, and stop at an infinity that an operation
was given, too; jax.experimental.checkify would put its checks into the program that trains.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

INNER = ('jaxpr', 'call_jaxpr', 'fun_jaxpr')  # parameters of operations that are programs themselves
LOOP = 'while'  # taken as one operation; of a scan every turn is looked into


class _Found(Exception):
    """The first operation."""


def first_bad_operation(function: Callable[..., Any], *arguments: Any) -> str | None:
    """Runs `function`, a pure one of arrays, operation by operation: hundreds of times slower than compiled.

    Returns:
      the operation, which part of the model's forward or backward pass it is in, and the line that asked for it; None:
      each made finite numbers out of finite ones. Operations that are given an infinity, as masks are, may return it.
    """
    program = jax.make_jaxpr(function)(*arguments)
    try:
        _run(program.jaxpr, program.consts, jax.tree.leaves(arguments))
    except _Found as found:
        return str(found)
    return None


def _run(program: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values = dict(zip([*program.constvars, *program.invars], [*constants, *arguments], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in program.eqns:
        inputs = [read(atom) for atom in equation.invars]
        outputs = _apply(equation, inputs)
        if all(map(_finite, inputs)) and not all(map(_finite, outputs)):
            where = source_info_util.summarize(equation.source_info)
            part = str(equation.source_info.name_stack)
            raise _Found(f'{equation.primitive.name}{f" in {part}" if part else ""}, {where}')
        values |= zip(equation.outvars, outputs, strict=True)
    return [read(atom) for atom in program.outvars]


def _apply(equation: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    name, params = equation.primitive.name, equation.params
    if name == 'scan':
        return _scan(params, inputs)
    if name == 'cond':  # a convolution is one, by where it is to run
        taken = params['branches'][int(inputs[0])]
        return _run(taken.jaxpr, taken.consts, inputs[1:])
    inner = next((params[key] for key in INNER if isinstance(params.get(key), Jaxpr | ClosedJaxpr)), None)
    if inner is not None and name != LOOP:
        program, constants = (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, [])
        if len(program.invars) == len(inputs):
            return _run(program, constants, inputs)
    outputs = equation.primitive.bind(*inputs, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def _scan(params: dict[str, Any], inputs: Sequence[Any]) -> list[Any]:
    constants, carry, rows = _parts_of_a_scan(params, inputs)
    carried = len(carry)
    turns = range(params['length'])
    made: list[list[Any]] = []
    for turn in reversed(turns) if params['reverse'] else turns:
        outputs = _run(
            params['jaxpr'].jaxpr, params['jaxpr'].consts, [*constants, *carry, *(row[turn] for row in rows)]
        )
        carry = outputs[:carried]
        made.append(outputs[carried:])
    if params['reverse']:
        made.reverse()
    return [*carry, *(jnp.stack(column) for column in zip(*made, strict=True))]


def _parts_of_a_scan(params: dict[str, Any], inputs: Sequence[Any]) -> list[list[Any]]:
    """What is the same at each turn, what is carried from one to the next, and the rows of which each has its own."""
    if 'ft_in' in params:  # from jax 0.11 on
        return [list(part) for part in params['ft_in'].update(inputs).unpack()]
    fixed, carried = params['num_consts'], params['num_carry']
    return [list(inputs[:fixed]), list(inputs[fixed : fixed + carried]), list(inputs[fixed + carried :])]


def _finite(value: Any) -> bool:
    return not jnp.issubdtype(jnp.result_type(value), jnp.inexact) or bool(jnp.isfinite(value).all())
