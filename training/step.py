"""One training step, and one evaluation step: pure functions of arrays."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from data.augment import augment
from models import Model, Params

Images = UInt8[Array, 'batch height width channels']
Labels = Int32[Array, 'batch']


class Sums(NamedTuple):
    """What was seen so far. Sums, not means: every example weighs the same, whatever batch it came in."""

    loss: Float[Array, '']
    correct: Int32[Array, '']
    examples: Int32[Array, '']

    @classmethod
    def zeros(cls) -> 'Sums':
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


class State(NamedTuple):
    """All that training changes."""

    step: Int32[Array, '']
    params: Params
    opt_state: optax.OptState
    sums: Sums  # since the last row of the log


def cross_entropy(logits: Float[Array, 'batch classes'], labels: Labels, smoothing: float) -> Float[Array, 'batch']:
    """Softmax cross-entropy with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7), in nats."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def initial_state(model: Model, optimiser: optax.GradientTransformation, key: PRNGKeyArray) -> State:
    """The state before the first step."""
    params = model.init(key)
    return State(jnp.zeros((), jnp.int32), params, optimiser.init(params), Sums.zeros())


def make_train_step(
    config: ConfigDict, model: Model, optimiser: optax.GradientTransformation
) -> Callable[[State, PRNGKeyArray, Images, Labels], State]:
    """step(state, key, images, labels) -> state. `key` is the run's; the step folds its own number in."""

    def train_step(state: State, key: PRNGKeyArray, images: Images, labels: Labels) -> State:
        augment_key, model_key = jax.random.split(jax.random.fold_in(key, state.step))
        images = augment(augment_key, images, config.data.augment)

        def loss_of(params):
            logits = model.apply(params, images, key=model_key).logits
            return jnp.mean(cross_entropy(logits, labels, config.train.label_smoothing)), logits

        (loss, logits), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        batch = len(labels)
        sums = Sums(loss * batch, jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.int32), jnp.int32(batch))
        return State(
            state.step + 1,
            optax.apply_updates(state.params, updates),
            opt_state,
            jax.tree.map(jnp.add, state.sums, sums),
        )

    return train_step


class Evaluation(NamedTuple):
    """Sums over a split."""

    loss: Float[Array, '']
    confusion: Int32[Array, 'true_class predicted_class']


def make_evaluation_step(
    model: Model,
) -> Callable[[Params, Evaluation, Images, Labels, Bool[Array, 'batch']], Evaluation]:
    """step(params, sums, images, labels, mask) -> sums, with this batch's unmasked examples added."""

    def evaluation_step(params, sums, images, labels, mask) -> Evaluation:
        logits = model.apply(params, images).logits
        loss = jnp.sum(jnp.where(mask, cross_entropy(logits, labels, 0.0), 0.0))
        predicted = jnp.argmax(logits, axis=-1)
        confusion = sums.confusion.at[labels, predicted].add(mask.astype(jnp.int32))
        return Evaluation(sums.loss + loss, confusion)

    return evaluation_step


def no_evaluation(num_classes: int) -> Evaluation:
    """The sums before the first batch."""
    return Evaluation(jnp.zeros((), jnp.float32), jnp.zeros((num_classes, num_classes), jnp.int32))
