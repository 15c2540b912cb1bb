"""Tests a trained run again, on any split.

python eval.py --workdir=runs/x --split=test
"""

from pathlib import Path

from absl import flags

from experiment import command

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run.', required=True)
SPLIT = flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Examples to evaluate on.')

LARGEST_CONFUSION = 30  # classes


def main() -> None:
    import data
    from experiment import folder
    from experiment.validate import validate
    from training.evaluate import evaluate, per_class_accuracy
    from training.programs import compile_evaluation
    from training.restore import restore_selected

    workdir = Path(WORKDIR.value)
    config = folder.read_config(workdir)
    spec = validate(config)
    model, params, step = restore_selected(config, spec, workdir)
    program = compile_evaluation(config, spec, model, params)
    split = getattr(data.load(config.data), SPLIT.value)
    scores = evaluate(program, params, split, config.train.eval_batch_size, spec.num_classes)

    print(f'{spec.name}, {SPLIT.value}: {scores["examples"]:,} images, params of step {step:,}')
    print(f'accuracy {scores["accuracy"]:.4%}, loss {scores["loss"]:.6f}')
    reported = (folder.read_json(workdir / folder.RESULT) or {}).get(SPLIT.value)
    if reported:
        same = reported['accuracy'] == scores['accuracy']
        print(f'{"equal to" if same else "DIFFERS FROM"} what training reported: {reported["accuracy"]:.4%}')
    print('\naccuracy by class')
    for name, accuracy in zip(spec.class_names, per_class_accuracy(scores['confusion']), strict=True):
        print(f'  {name:>12}  {accuracy:7.2%}')
    if spec.num_classes <= LARGEST_CONFUSION:
        print('\nconfusion: a row is a true class, a column what it was taken for')
        width = max(5, len(str(scores['confusion'].max())) + 1)
        print(' ' * 14 + ''.join(f'{name[: width - 1]:>{width}}' for name in spec.class_names))
        for name, row in zip(spec.class_names, scores['confusion'], strict=True):
            print(f'  {name:>12}' + ''.join(f'{count:>{width}}' for count in row))


if __name__ == '__main__':
    command.run(main)
