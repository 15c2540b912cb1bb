"""Tests a trained run again, on any split; or a run, or a whole sweep, on images of other sizes.

  python eval.py --workdir=runs/x --split=test
  python eval.py --workdir=runs/demo --resolutions=8,12,16 --coordinates=extend,rescale

A larger image has more patches of the trained size. Where they are is one choice or the other: 'extend', beyond the
trained range; 'rescale', closer within it. Both are tabulated apart, and drawn, in the folder: extrapolation.*.
"""

import math
from pathlib import Path

import numpy as np
from absl import flags

from configs.errors import ConfigError
from experiment import command

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run; with --resolutions, or of a sweep.', required=True)
RESOLUTIONS = flags.DEFINE_list('resolutions', None, 'Sides of square images in pixels, with commas between them.')
COORDINATES = flags.DEFINE_list('coordinates', None, 'With --resolutions: extend, rescale, or both (the default).')
SPLIT = flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Examples to evaluate on.')

LARGEST_CONFUSION = 30  # classes of a matrix that is printed whole, and lines of a list in its place


def main() -> None:
    from training.compilation import use_cache

    use_cache()
    if RESOLUTIONS.value is not None:
        from analysis import extrapolation_report

        extrapolation_report.report(WORKDIR.value, RESOLUTIONS.value, COORDINATES.value, SPLIT.value)
    elif COORDINATES.value is not None:
        raise ConfigError(f'--coordinates={",".join(COORDINATES.value)} says nothing without --resolutions; give both')
    else:
        evaluate_split(Path(WORKDIR.value))


def evaluate_split(workdir: Path) -> None:
    """Prints how one run does on a split, whole and by class."""
    import data
    from experiment import folder
    from experiment.validate import validate
    from training.evaluate import evaluate, per_class_accuracy
    from training.programs import compile_evaluation
    from training.restore import restore_selected

    config = folder.read_config(workdir)
    result = folder.read_json(workdir / folder.RESULT) or {}
    if result.get('status') == 'diverged':
        raise ConfigError(f'--workdir={workdir}: the run diverged, and has no params to evaluate; another would do')
    spec = validate(config, to_train=False)
    model, params, step = restore_selected(config, spec, workdir)
    program = compile_evaluation(config, spec, model, params)
    split = getattr(data.load(config.data), SPLIT.value)
    scores = evaluate(program, params, split, config.train.eval_batch_size, spec.num_classes)

    print(f'{spec.name}, {SPLIT.value}: {scores["examples"]:,} images, params of step {step:,}')
    if not result:
        print('the run is not finished: its best params may be yet to come')
    print(f'accuracy {scores["accuracy"]:.4%}, loss {scores["loss"]:.6f}')
    reported = result.get(SPLIT.value)
    names = ('accuracy', 'loss', 'examples')
    if isinstance(reported, dict) and all(isinstance(reported.get(name), int | float) for name in names):
        # A run that trained in a population was tested by the population's program, whose sums may round differently.
        same = all(reported[name] == scores[name] for name in ('accuracy', 'examples'))
        same = same and math.isclose(reported['loss'], scores['loss'], rel_tol=1e-5)
        verdict = 'equal to' if same else 'DIFFERS FROM (another device or version?)'
        print(f'{verdict} what training reported: {reported["accuracy"]:.4%}, loss {reported["loss"]:.6f}')
    print('\naccuracy by class')
    for name, accuracy in zip(spec.class_names, per_class_accuracy(scores['confusion']), strict=True):
        print(f'  {name:>12}  {accuracy:7.2%}')
    print_confusion(scores['confusion'], spec.class_names)


def print_confusion(confusion, names: tuple[str, ...]) -> None:
    """The whole matrix, or of many classes the commonest mistakes."""
    if len(names) > LARGEST_CONFUSION:
        mistakes = [
            (int(confusion[true, guess]), names[true], names[guess])
            for true, guess in np.argwhere(confusion)
            if true != guess
        ]
        print(f'\nthe {LARGEST_CONFUSION} commonest mistakes')
        for count, true, guess in sorted(mistakes, reverse=True)[:LARGEST_CONFUSION]:
            print(f'  {count:>7}  {true} taken for {guess}')
        return
    print('\nconfusion: a row is a true class, a column what it was taken for')
    width = max(5, len(str(confusion.max())) + 1)
    print(' ' * 14 + ''.join(f'{name[: width - 1]:>{width}}' for name in names))
    for name, row in zip(names, confusion, strict=True):
        print(f'  {name:>12}' + ''.join(f'{count:>{width}}' for count in row))


if __name__ == '__main__':
    command.run(main)
