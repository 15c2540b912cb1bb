import json

from absl import flags

from benchmarks import sweep
from configs import demo
from experiment.sweeping.sweep_file import load_sweep
from tests.quick import QUICKLY

TINY = """
from configs import digits


def get_config(variant=''):
    config = digits.get_config('tiny')
    config.model.embed_dim, config.model.depth, config.train.steps, config.checkpoint.count = 16, 1, 3, 1
    return config


def sweep():
    return [{'arm': str(heads), 'model.num_heads': heads, 'seed': seed} for heads in (1, 2, 4) for seed in (0, 1)]
"""


def test_a_subset_is_of_whole_arms_from_all_over():
    rows = demo.sweep()
    # Less whom the table compares an arm with, who may not be there.
    assert sweep.whole_arms(rows, len(rows)) == [{name: row[name] for name in row if name != 'against'} for row in rows]
    assert any(row.get('against') for row in rows)
    nine = sweep.whole_arms(rows, 10)
    assert [row['seed'] for row in nine] == [0, 1, 2] * 3
    arms = [row['arm'] for row in nine[::3]]
    assert arms[0] == rows[0]['arm']
    assert arms[-1] == rows[-1]['arm']
    assert len(sweep.whole_arms(rows, 1)) == 3


def test_both_ways_train_the_same_runs(tmp_path, monkeypatch):
    """Whole commands, in processes of their own."""
    monkeypatch.setenv('XLA_FLAGS', QUICKLY)
    path = tmp_path / 'tiny.py'
    path.write_text(TINY)
    rows, _ = load_sweep(str(path))
    (tmp_path / 'scratch').mkdir()
    measured = sweep.measure(str(path), sweep.whole_arms(rows, 2), tmp_path / 'scratch')
    assert measured['runs'] == 2
    assert measured['largest_difference_in_test_accuracy'] < 0.02
    for cache, ways in measured['seconds'].items():
        assert measured['ratio'][cache] == ways[sweep.ONE_BY_ONE] / ways[sweep.AT_ONCE]
    for way, cache in sweep.ORDER:
        results = [json.loads(path.read_text()) for path in (tmp_path / 'scratch').glob(f'{way}-{cache}/*/result.json')]
        assert len(results) == 2
        assert (sum(result['compilation_cache']['misses'] for result in results) == 0) == (cache == sweep.WARM)
    assert sum(line.startswith('|') for line in sweep.to_markdown(measured).splitlines()) == 4
    json.dumps(measured, allow_nan=False)


def test_a_run_by_itself_is_asked_for_fields_alone(tmp_path):
    """What else a row says is about the table."""
    row = {'arm': 'an arm', 'curve': 'a curve', 'x': 3, 'tuned': 'train.learning_rate', 'train.learning_rate': 0.1}
    ((*_, field),) = sweep.run_commands('some.py', [row], tmp_path, tmp_path)
    assert field == '--config.train.learning_rate=0.1'
    (command,) = sweep.run_commands('some.py', [row], tmp_path, tmp_path)
    assert sum(word.startswith('--config.') for word in command) == 1


def test_flags_do_not_clash_with_other_benchmarks_flags():
    from benchmarks import loop, options, window  # noqa: F401, absl refuses a flag that another one has defined

    assert {'json', 'seconds', 'cores', 'quick', 'sweep', 'runs'} <= set(flags.FLAGS)
