"""What is lost when attention heads are taken away."""

import functools
import json
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

import models
from analysis.heads.trained import Trained, model_fields, sample
from data.spec import Dataset, Spec, Split
from models import Params
from training.evaluate import evaluation_of
from training.step import make_evaluation_step

Kept = Bool[Array | np.ndarray, 'layers heads']


class Removal(NamedTuple):
    """Accuracies are fractions in [0, 1], on `examples` images."""

    lost: Float[np.ndarray, 'layers heads']  # accuracy lost when the head alone is removed; below 0: gained
    order: tuple[tuple[int, int], ...]  # layer and head, from the least important
    accuracy: Float[np.ndarray, 'removed']  # with none removed, the first of `order`, the first two, ... all
    examples: int


def keep_heads(params: Params, kept: Kept) -> Params:
    """The params of a model in which heads that are not kept say nothing: Michel et al. 2019 (arXiv:1905.10650), eq. 2.

    Their masks on the heads' outputs, as zeros in the rows of the output map that read a head; its bias stays.
    """
    blocks = dict(params['blocks'])
    for layer, mask in enumerate(kept):
        block = dict(blocks[layer])
        mixer = dict(block['mixer'])
        kernel = mixer['out']['kernel']
        rows = jnp.repeat(mask, kernel.shape[0] // len(mask), total_repeat_length=kernel.shape[0])
        mixer['out'] = {**mixer['out'], 'kernel': kernel * rows[:, None].astype(kernel.dtype)}
        blocks[layer] = block | {'mixer': mixer}
    return {**params, 'blocks': blocks}


def removal(trained: Trained, dataset: Dataset, split: str = 'test', images: int = 1000) -> Removal:
    """What each head is worth to a run, and what is left as heads are removed from the least to the most important.

    Importance is the accuracy that the validation images lose with a head, then the loss that they gain: what is
    reported, on up to `images` of `split`, had no say in the order (unless that is the validation split).
    """
    heads = np.ones((trained.config.model.depth, trained.config.model.num_heads), bool)
    without = [(layer, head) for layer, head in np.ndindex(*heads.shape)]
    validation, reported = (sample(getattr(dataset, name), images) for name in ('validation', split))
    # The same for both, so that one program serves them.
    batch_size = min(len(validation.labels), len(reported.labels), trained.config.train.eval_batch_size)
    program = _compile(model_fields(trained.config), trained.spec)

    def scored(examples: Split) -> Callable[[Kept], dict]:
        evaluate = evaluation_of(examples, batch_size, trained.spec.num_classes)

        def score(kept: Kept) -> dict:
            return evaluate(lambda params, *more: program(params, kept, *more), trained.params)

        return score

    def one_removed(which: tuple[int, int]) -> np.ndarray:
        kept = heads.copy()
        kept[which] = False
        return kept

    def worth(score: Callable[[Kept], dict]) -> dict[tuple[int, int], tuple[float, float]]:
        scores = {which: score(one_removed(which)) for which in without}
        return {which: (-found['accuracy'], found['loss']) for which, found in scores.items()}

    # The validation images have left the device when the others come.
    order = sorted(without, key=worth(scored(validation)).__getitem__)
    score = scored(reported)
    whole = score(heads)['accuracy']
    lost = [whole - score(one_removed(which))['accuracy'] for which in without]
    accuracy, kept = [whole], heads.copy()
    for which in order:
        kept[which] = False
        accuracy.append(score(kept)['accuracy'])
    return Removal(np.reshape(lost, heads.shape), tuple(order), np.array(accuracy), len(reported.labels))


@functools.lru_cache(maxsize=1)
def _compile(fields: str, spec: Spec) -> Callable:
    config = ConfigDict(json.loads(fields))
    step = make_evaluation_step(models.build(config.model, spec, np.dtype(config.dtype)))
    return jax.jit(lambda params, kept, *rest: step(keep_heads(params, kept), *rest))
