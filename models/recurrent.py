"""A gated recurrent unit over a sequence."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class GRU(nnx.Module):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), with the reset gate after the recurrent product.

    r, z = sigmoid(W x + U h);  n = tanh(W_n x + r * (U_n h + b_n));  h' = (1 - z) * n + z * h. The reset gate's place
    is cuDNN's and PyTorch's: it leaves one recurrent product a step instead of two. The products with x do not
    depend on h, so they are one matrix product for the whole sequence. The three recurrent kernels start orthogonal as
    the one matrix that they are kept in, as in Keras and nnx: the rows of all three together, not of each.
    """

    def __init__(self, in_features: int, hidden: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.inputs = nnx.Linear(in_features, 3 * hidden, dtype=dtype, rngs=rngs)
        self.recurrent = nnx.Linear(
            hidden, 3 * hidden, dtype=dtype, kernel_init=nnx.initializers.orthogonal(), rngs=rngs
        )

    def __call__(
        self,
        x: Float[Array, 'batch time features'],
        initial: Float[Array, 'batch hidden'] | None = None,
        *,
        reverse: bool = False,
    ) -> Float[Array, 'batch time hidden']:
        """The state after every step; `reverse` walks from the last to the first."""
        gates_of_x = jnp.swapaxes(self.inputs(x), 0, 1)
        kernel, bias = self.recurrent.kernel[...].astype(x.dtype), self.recurrent.bias[...].astype(x.dtype)
        if initial is None:
            initial = jnp.zeros((x.shape[0], kernel.shape[0]), x.dtype)

        def step(h, gates):
            x_reset, x_update, x_new = jnp.split(gates, 3, axis=-1)
            h_reset, h_update, h_new = jnp.split(h @ kernel + bias, 3, axis=-1)
            update = jax.nn.sigmoid(x_update + h_update)
            new = jnp.tanh(x_new + jax.nn.sigmoid(x_reset + h_reset) * h_new)
            h = (1 - update) * new + update * h
            return h, h

        _, states = jax.lax.scan(step, initial, gates_of_x, reverse=reverse)
        return jnp.swapaxes(states, 0, 1)
