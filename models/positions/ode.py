"""Codes along the path of a continuous dynamical system."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape, positional_parameter, sequence_length

TIME_PER_TOKEN = 0.1
STEP = 0.4  # of the solver: four tokens


class ODEPositions(AbsolutePositions):
    """`ode`: the path of a learned dynamical system, dp/dt = h(t, p), read at each token's time (FLOATER).

    Liu et al. 2020 (arXiv:2003.09229), section 3: p(t) = p(0) + the integral of h(s, p(s)) ds from 0 to t, with p(0)
    learned and h a network of one hidden layer, tanh. Time is the place in the raster sequence, so any place between
    two tokens has a code, the path goes on past the trained length, and the parameters do not grow with it.

    It differs from the authors' code (github.com/xuanqing94/FLOATER):

    - There codes are biases of queries, keys and values in every layer, with one h and a p(0) for each, on top of the
      sinusoids that tokens have by default. Here they stand alone, where `positions.inject` says.
    - Their h has a ReLU and reads the time in both layers; ours has a tanh and reads it in the first. A smooth h lets
      the solver take longer steps.
    - Their p(0) starts Xavier-uniform, their kernels Xavier-normal; ours from N(0, 1) and with LeCun's variance.
    - A token takes ten times their time (0.01), which was for sentences: by theirs the first and the last of sixteen
      patches start a tenth apart. With ours codes grow along the path: the 196th starts 11 to 19 times as large as
      the first. (In bfloat16 the sum of such a code and a token is rounded to about a quarter of the step from a late
      code to the next.)
    - They solve it by a Runge-Kutta method of order four in five steps a token, and for every 400th batch only: for
      the others codes stay as they are, and h has no gradient. Here Diffrax solves it for every batch, by Tsit5
      (Tsitouras 2011) in steps of four tokens, and interpolates to the same order: next to SciPy's solver codes are
      off by 1e-6 to 5e-6 of their norm as they are drawn, and by 6e-5 after 1,000 steps on Fashion-MNIST.

    Parameters: embed_dim + (embed_dim + 2) x embed_dim + (embed_dim + 1) x embed_dim.
    """

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        dim = shape.embed_dim
        self.grid = shape.grid
        self.start = positional_parameter(jax.random.normal(rngs.params(), (dim,)))
        self.expand = nnx.Linear(dim + 1, dim, dtype=jnp.float32, rngs=rngs)
        self.contract = nnx.Linear(dim, dim, dtype=jnp.float32, rngs=rngs)

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        import diffrax  # here, since it takes a second to import, and the other variants do without

        steps = math.ceil(TIME_PER_TOKEN * sequence_length(coordinates, self.grid) / STEP)
        path = diffrax.diffeqsolve(
            diffrax.ODETerm(_velocity),
            diffrax.Tsit5(),
            t0=0.0,
            t1=steps * STEP,
            dt0=STEP,
            y0=self.start[...],
            args=nnx.to_pure_dict(nnx.state((self.expand, self.contract), nnx.Param)),
            saveat=diffrax.SaveAt(dense=True),  # by times it would call the host back, to check them
            max_steps=steps + 1,
            throw=False,  # steps of a fixed size cannot be too many, and this check would call back too
        )
        # A place before the first token has the first one's code.
        return jax.vmap(path.evaluate)(jnp.clip(TIME_PER_TOKEN * coordinates.order, 0, steps * STEP))


def _velocity(time: Float[Array, ''], code: Float[Array, 'embed'], layers: dict) -> Float[Array, 'embed']:
    expand, contract = layers[0], layers[1]
    # Of this product some accelerators would round the inputs, the time among them.
    hidden = jnp.matmul(jnp.append(code, time), expand['kernel'], precision='highest')
    hidden = jnp.tanh(hidden + expand['bias'])
    return hidden @ contract['kernel'] + contract['bias']
