"""How a trained run does on a split of its data, whole and by class, and whether training had said so."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

import data
from data.spec import Spec
from experiment import folder
from experiment.checking.validate import validate
from files.values import is_number
from training.evaluate import compile_evaluation, evaluate, per_class_accuracy
from training.saving.restore import restore_selected

LARGEST_CONFUSION = 30  # classes of a matrix that is shown whole, and lines of a list in its place


class Evaluated(NamedTuple):
    """A run's selected params on a split."""

    spec: Spec
    split: str
    step: int  # of the params
    scores: dict[str, Any]  # accuracy, loss, examples, confusion
    finished: bool
    reported: dict[str, float] | None  # accuracy, loss and examples by training's own account, where there is one


def evaluate_run(workdir: Path, split: str) -> Evaluated:
    """The run in `workdir` on 'train', 'validation' or 'test'.

    Raises:
      ConfigError: there is no run, or none with params.
    """
    config = folder.read_config(workdir)
    result = folder.read_undiverged(workdir) or {}
    spec = validate(config, to_train=False)
    model, params, step = restore_selected(config, spec, workdir)
    program = compile_evaluation(config, spec, model, params)
    examples = getattr(data.load_once(config.data), split)
    scores = evaluate(program, params, examples, config.train.eval_batch_size, spec.num_classes)
    return Evaluated(spec, split, step, scores, bool(result), _numbers(result.get(split)))


def _numbers(reported: Any) -> dict[str, float] | None:
    """What a result says of a split, if that is what a result can say."""
    names = ('accuracy', 'loss', 'examples')
    if isinstance(reported, dict) and all(is_number(reported.get(name)) for name in names):
        return {name: reported[name] for name in names}
    return None


def to_text(found: Evaluated) -> str:
    """What was found, as lines to print: accuracy and loss, beside what training reported, and by class."""
    scores, names = found.scores, found.spec.class_names
    lines = [f'{found.spec.name}, {found.split}: {scores["examples"]:,} images, params of step {found.step:,}']
    if not found.finished:
        lines.append('the run is not finished: its best params may be yet to come')
    lines.append(f'accuracy {scores["accuracy"]:.4%}, loss {scores["loss"]:.6f}')
    if found.reported:
        verdict = 'equal to' if _agree(found.reported, scores) else 'DIFFERS FROM (another device or version?)'
        reported = f'{found.reported["accuracy"]:.4%}, loss {found.reported["loss"]:.6f}'
        lines.append(f'{verdict} what training reported: {reported}')
    by_class = ['-' if np.isnan(one) else f'{one:.2%}' for one in per_class_accuracy(scores['confusion'])]
    lines += [
        '',
        'accuracy by class',
        *(f'  {name:>12}  {one:>7}' for name, one in zip(names, by_class, strict=True)),
    ]
    return '\n'.join([*lines, '', *_confusion(scores['confusion'], names)])


def _agree(reported: dict[str, float], scores: dict[str, Any]) -> bool:
    # A run that trained in a population was tested by the population's program, whose sums may round differently.
    same = all(reported[name] == scores[name] for name in ('accuracy', 'examples'))
    return same and math.isclose(reported['loss'], scores['loss'], rel_tol=1e-5)


def _confusion(confusion: Int[np.ndarray, 'classes classes'], names: tuple[str, ...]) -> list[str]:
    """The whole matrix, or of many classes the commonest mistakes."""
    if len(names) > LARGEST_CONFUSION:
        mistakes = sorted(
            ((int(confusion[true, guess]), true, guess) for true, guess in np.argwhere(confusion) if true != guess),
            reverse=True,
        )
        shown = [f'  {count:>7}  {names[true]} taken for {names[guess]}' for count, true, guess in mistakes]
        return [f'the {LARGEST_CONFUSION} commonest mistakes', *shown[:LARGEST_CONFUSION]]
    width = max(5, len(str(confusion.max())) + 1)
    header = ' ' * 14 + ''.join(f'{name[: width - 1]:>{width}}' for name in names)
    rows = [
        f'  {name:>12}' + ''.join(f'{count:>{width}}' for count in row)
        for name, row in zip(names, confusion, strict=True)
    ]
    return ['confusion: a row is a true class, a column what it was taken for', header, *rows]
