"""One training step, and one evaluation step, of the model of an experiment: pure functions of arrays."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

import models
from data.augment import augment
from data.spec import Spec
from models import Model, Params
from models.keys import hashed
from training import placement
from training.optimiser import Rates, build_optimiser
from training.strategy import parts_at_once

Images = UInt8[Array, 'batch height width channels']
Labels = Int32[Array, 'batch']


class Sums(NamedTuple):
    """What was seen so far. Sums, not means: every example weighs the same, whatever batch it came in."""

    loss: Float[Array, '']
    correct: Int32[Array, '']
    examples: Int32[Array, '']
    diverged: Int32[Array, '']  # the first step, from 1, whose loss or gradient was not finite; 0: none

    @classmethod
    def zeros(cls) -> 'Sums':
        return cls(jnp.zeros((), jnp.float32), *(jnp.zeros((), jnp.int32) for _ in range(3)))

    def plus(self, other: 'Sums') -> 'Sums':
        """These and then `other`, whose steps are later or the same."""
        return Sums(
            self.loss + other.loss,
            self.correct + other.correct,
            self.examples + other.examples,
            jnp.where(self.diverged > 0, self.diverged, other.diverged),
        )


class State(NamedTuple):
    """All that training changes."""

    step: Int32[Array, '']
    params: Params
    opt_state: optax.OptState
    sums: Sums  # since the last row of the log


def cross_entropy(
    logits: Float[Array, 'batch classes'], labels: Labels, smoothing: float | Float[Array, '']
) -> Float[Array, 'batch']:
    """Softmax cross-entropy with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7), in nats."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def build_model(config: ConfigDict, spec: Spec) -> Model:
    """The model of an experiment, in its compute type."""
    return models.build(config.model, spec, np.dtype(config.train.compute_dtype))


def run_keys(seed: int) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The keys of a run: of its initial params, and of its steps."""
    init_key, train_key = jax.random.split(jax.random.key(seed))
    return init_key, train_key


def initial_state(config: ConfigDict, model: Model, key: PRNGKeyArray) -> State:
    """The state before the first step of an experiment."""
    return _unstepped(config, model, model.init(key))


def state_shapes(config: ConfigDict, model: Model) -> State:
    """The shapes and types of the state; no model is drawn, or traced, for them."""
    return jax.eval_shape(functools.partial(_unstepped, config, model), model.shapes)


def _unstepped(config: ConfigDict, model: Model, params: Params) -> State:
    # The schedule and the rates have no place in the optimiser's state, so any will do.
    optimiser = build_optimiser(config.train, model, 1, Rates.of(config.train))
    return State(jnp.zeros((), jnp.int32), params, optimiser.init(params), Sums.zeros())


TrainStep = Callable[[State, PRNGKeyArray, Rates, Images, Labels], State]


def make_train_step(config: ConfigDict, model: Model, total_steps: int) -> TrainStep:
    """step(state, key, rates, images, labels) -> state. `key` is the run's; the step folds its own number in."""
    gradients_of, update = make_gradients(config, model), make_update(config, model, total_steps)

    def train_step(state: State, key: PRNGKeyArray, rates: Rates, images: Images, labels: Labels) -> State:
        gradients, sums = gradients_of(state.params, state.step, key, rates, images, labels)
        return update(state, rates, gradients, sums)

    return train_step


def make_gradients(config: ConfigDict, model: Model, shares: int = 1) -> Callable[..., tuple[Params, Sums]]:
    """gradients(params, step, key, rates, images, labels, share=0) of the mean loss of a batch, and what was seen.

    Args:
      shares: of how many equal shares of the batch `share` is one; the sum over them is that of the whole batch, whose
        augmentation and dropout they have.
    """
    parts = placement.parts(config)

    def gradients(params, step, key, rates, images, labels, share=0):
        augment_key, model_key = jax.random.split(jax.random.fold_in(key, step))
        images = augment(hashed(augment_key), images, config.data.augment)
        batch, size = len(labels), len(labels) // shares
        start = share * size

        def loss_of(params, images, labels, first):
            logits = model.apply(params, images, key=model_key, first=first).logits
            loss = jnp.sum(cross_entropy(logits, labels, rates.label_smoothing))
            correct = jnp.sum(jnp.argmax(logits, -1) == labels, dtype=jnp.int32)
            return loss / batch, Sums(loss, correct, jnp.int32(len(labels)), jnp.int32(0))

        if shares > 1:
            images, labels = (jax.lax.dynamic_slice_in_dim(array, start, size) for array in (images, labels))
        gradients_of = jax.grad(loss_of, has_aux=True)
        if parts > 1:
            gradients_of = accumulated(gradients_of, parts, parts_at_once(config))
        return gradients_of(params, images, labels, start)

    return gradients


def make_update(config: ConfigDict, model: Model, total_steps: int) -> Callable[[State, Rates, Params, Sums], State]:
    """update(state, rates, gradients, sums) -> the state after a step of the optimiser along a batch's gradients."""

    def update(state: State, rates: Rates, gradients: Params, sums: Sums) -> State:
        # Clipping takes the same norm, so it is computed once. A norm that overflows would clip gradients to zero.
        finite = jnp.isfinite(sums.loss) & jnp.isfinite(optax.tree.norm(ravel_pytree(gradients)[0]))
        sums = sums._replace(diverged=jnp.where(finite, 0, state.step + 1))
        optimiser = build_optimiser(config.train, model, total_steps, rates)
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        return State(
            state.step + 1,
            optax.apply_updates(state.params, updates),
            opt_state,
            state.sums.plus(sums),
        )

    return update


def accumulated(
    gradients_of: Callable[..., tuple[Params, Sums]], parts: int, at_once: bool
) -> Callable[..., tuple[Params, Sums]]:
    """`gradients_of` a batch, as the sum over `parts` equal parts of it.

    One by one in a loop, so that memory is held for one alone; or `at_once`, written out (strategy.parts_at_once).
    """

    def whole(params: Params, images: Images, labels: Labels, first: int | Int32[Array, '']) -> tuple[Params, Sums]:
        size = len(labels) // parts
        firsts = first + jnp.arange(0, len(labels), size)
        pieces = images.reshape(parts, size, *images.shape[1:]), labels.reshape(parts, size), firsts

        def add(total, piece):
            gradients, sums = gradients_of(params, *piece)
            return (jax.tree.map(jnp.add, total[0], gradients), total[1].plus(sums)), None

        zeros = jax.tree.map(jnp.zeros_like, params), Sums.zeros()
        return jax.lax.scan(add, zeros, pieces, unroll=parts if at_once else 1)[0]

    return whole


def make_train_steps(
    config: ConfigDict, model: Model, total_steps: int, *, in_order: bool = False
) -> Callable[..., State]:
    """steps(state, key, rates, images, labels, rows, count) -> state, after a step on each of the first `count` rows.

    A row names the images of a step, of all or of its own, where images and labels lie by step: [steps, batch, ...].
    `count` is no more than there are, and left out where there is one. The number is an argument, so that one program
    takes whatever is left before a row of the log.

    On the CPU it is how often the loop turns. XLA for GPUs has the host wait at each turn of such a loop for whether
    there is another, so elsewhere there are as many turns as rows, and those beyond `count` change nothing.

    Args:
      in_order: images lie by step in the order of the rows, so that devices that share them need exchange none.
    """
    train_step = make_train_step(config, model, total_steps)
    turns_are_known = jax.default_backend() != 'cpu'

    def train_steps(state, key, rates, images, labels, rows, count=1) -> State:
        by_step = labels.ndim == rows.ndim

        def one(index, state):
            batch = (images[index], labels[index]) if by_step else (images, labels)
            # Taken by rows even where these are in order, a batch has the bits that it has among all images.
            batch = batch if in_order else tuple(array[rows[index]] for array in batch)
            return train_step(state, key, rates, *batch)

        def one_if_asked(index, state):
            return jax.tree.map(functools.partial(jnp.where, index < count), one(index, state), state)

        if len(rows) == 1:
            return one(0, state)
        if turns_are_known:
            return jax.lax.fori_loop(0, len(rows), one_if_asked, state)
        return jax.lax.fori_loop(0, count, one, state)

    return train_steps


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
