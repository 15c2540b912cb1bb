import json
import os
import subprocess

import pytest

from configs.errors import ConfigError
from experiment import environment, folder
from experiment.run import execute, execute_together
from files.reading import read_json_if_whole
from files.writing import StorageError, write_json
from training.track import Member


def ignore(row, steps):
    pass


def test_a_result_holds_what_a_table_and_a_reviewer_need(config, tmp_path):
    result = execute(config, tmp_path, ignore)
    assert result == json.loads((tmp_path / 'result.json').read_text())
    assert set(result) == {
        'status', 'config', 'seed', 'git', 'code', 'data', 'versions', 'device', 'params', 'forward_flops', 'train',
        'validation', 'test', 'selection', 'steps', 'images_seen', 'compile_seconds', 'train_seconds',
        'images_per_second', 'peak_memory_bytes', 'width', 'reference', 'train_step_flops',
        'population', 'steps_per_dispatch', 'shares', 'accumulate', 'kernel_fallback', 'host_gap_share',
        'compilation_cache', 'first_step_seconds', 'flops_per_second', 'mfu', 'rows', 'sha256', 'begun_by',
    }  # fmt: skip
    assert result['config'] == json.loads((tmp_path / 'config.json').read_text())
    assert {'python', 'jax', 'flax', 'optax', 'numpy'} <= set(result['versions'])
    assert result['device']['count'] >= 1
    assert result['width'] == {name: config.model[name] for name in ('embed_dim', 'mlp_ratio')}
    assert result['reference'] is None
    assert set(result['test']) == {'accuracy', 'loss', 'examples'}


def test_a_finished_run_is_not_run_again(config, tmp_path):
    first = execute(config, tmp_path, ignore)

    def fail(row, steps):
        raise AssertionError('it trained')

    assert execute(config, tmp_path, fail) == first


def test_classes_that_training_never_shows_are_told_once(config, tmp_path, caplog):
    config.data.train_examples = 7
    for name in ('x', 'y'):
        execute(config, tmp_path / name, ignore)
    assert caplog.text.count('no training image is of 3 of the 10 classes of the test') == 1


def test_a_population_that_goes_on_leaves_the_results_that_are_there(config, tmp_path):
    members = []
    for seed in (0, 1):
        config.seed = seed
        members.append(Member(config.copy_and_resolve_references(), tmp_path / str(seed), ignore))
    execute_together(members)
    there = (tmp_path / '0' / 'result.json').read_bytes()
    (tmp_path / '1' / 'result.json').unlink()
    again = execute_together(members)
    assert (tmp_path / '0' / 'result.json').read_bytes() == there
    assert [result['population']['size'] for result in again] == [2, 2]


def test_a_run_that_goes_on_on_other_cores_says_so(config, tmp_path, caplog, monkeypatch):
    def interrupt(row, steps):
        if 'validation_loss' in row and row['step'] > 2:
            raise KeyboardInterrupt

    config.checkpoint.count = 4
    monkeypatch.setattr(environment, 'cores_allowed', lambda: [0])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            execute(config, tmp_path, interrupt)
    assert 'resumes from step' not in caplog.text
    monkeypatch.setattr(environment, 'cores_allowed', lambda: [0, 1, 2])
    result = execute(config, tmp_path, ignore)
    assert 'not as it began (device.cores=1 before, 3 now)' in caplog.text
    assert [made_by['device']['cores'] for made_by in result['begun_by']] == [1]


def test_the_commit_is_this_one():
    done = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=environment.ROOT, capture_output=True, text=True, check=False
    )
    assert environment.git()['commit'] == (done.stdout.strip() or None)


def test_another_config_s_folder_is_refused_and_left_alone(config, tmp_path):
    folder.open_run(tmp_path, config)
    before = sorted(path.name for path in tmp_path.iterdir())
    config.model.depth = 2
    with pytest.raises(ConfigError, match=r"holds another config's run: model\.depth=1 there, 2 here; another"):
        execute(config, tmp_path, ignore)
    config.seed, config.log.every, config.train.clip_norm = 7, 3, 2.0
    with pytest.raises(ConfigError, match=r'run: log\.every=.*, model\.depth=.*, seed=.* here and 1 more; another'):
        execute(config, tmp_path, ignore)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize('name', ['metrics.jsonl', 'diverged.json'])
def test_a_run_whose_config_is_gone_is_not_taken_for_this_one(config, tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f'holds {name} and no config.json'):
        execute(config, tmp_path, ignore)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize('content', ['', '{"seed": 0', '[]'])
def test_a_damaged_config_is_named(config, tmp_path, content):
    (tmp_path / 'config.json').write_text(content)
    with pytest.raises(ConfigError, match=r'config\.json is damaged'):
        execute(config, tmp_path, ignore)


def test_what_cannot_be_written_is_named(config, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(ConfigError, match=r'--workdir=.*file.*would do'):
        execute(config, tmp_path / 'file', ignore)


def test_nothing_is_written_for_a_config_that_cannot_run(config, tmp_path):
    config.data.train_examples = 10_000
    with pytest.raises(ConfigError, match=r'data\.train_examples=10000'):
        execute(config, tmp_path / 'run', ignore)
    assert not (tmp_path / 'run').exists()


def test_a_config_of_another_version_is_named(config, tmp_path):
    folder.open_run(tmp_path, config)
    tree = read_json_if_whole(tmp_path / 'config.json')
    del tree['model']['depth']
    write_json(tmp_path / 'config.json', tree)
    with pytest.raises(ConfigError, match=r'another version .* model\.depth'):
        folder.read_config(tmp_path)


@pytest.mark.parametrize('name', ['lock', folder.LOG])
@pytest.mark.parametrize('kind', ['a FIFO', 'a link'])
def test_a_folder_that_leads_elsewhere_is_not_followed(config, tmp_path, name, kind):
    victim, run = tmp_path / 'victim', tmp_path / 'run'
    victim.write_text('precious')
    run.mkdir()
    if kind == 'a FIFO':
        os.mkfifo(run / name)
    else:
        (run / name).symlink_to(victim)
    with pytest.raises(StorageError, match=f'{name} could not be written'):
        execute(config, run, ignore)
    assert victim.read_text() == 'precious'
