"""A run folder is read as it is: torn, foreign or hostile files become warnings, never numbers."""

import json
import os

import pytest

from analysis.reading import runs
from files import reading
from files.checksums import with_checksum


def _change(path, **changes):
    path.write_text(json.dumps(with_checksum(json.loads(path.read_text()) | changes)))


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        ('', 'torn'),
        ('{"status": "finished", "test": {"accu', 'torn'),
        ('[' * 100_000, 'nested too deeply'),
        ('{"config":' * 100 + '1' + '}' * 100, 'nested too deeply'),
        ('[]', 'not a JSON object'),
        ('{"config": {}}', 'another config'),
        ('{"seed": ' + '9' * 5000 + '}', 'torn or not JSON'),
        (b'\xff\xfe\x00', 'torn or not JSON'),
    ],
    ids=['empty', 'torn', 'deep', 'deep but valid', 'list', 'foreign', 'huge integer', 'not text'],
)
def test_a_damaged_result_is_named_and_not_counted(workdir, content, named):
    workdir.add('arm', 0, 0.9)
    path = workdir.add('arm', 1, 0.8) / 'result.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    (warning,) = sweep.warnings
    assert path.parent.name in warning
    assert 'result.json' in warning
    assert named in warning


@pytest.mark.parametrize('length', range(0, 1400, 50))
def test_a_result_torn_anywhere_is_noticed(workdir, length):
    path = workdir.add('arm', 0) / 'result.json'
    workdir.add('arm', 1)
    content = path.read_bytes()
    assert length < len(content)
    path.write_bytes(content[:length])
    assert runs.read(workdir.write()).arms[0].unfinished['damaged'] == 1


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('test', {'accuracy': '0.9', 'examples': 360}),
        ('test', {'accuracy': 1.5, 'examples': 360}),
        ('test', {'accuracy': -0.1, 'examples': 360}),
        ('test', {'accuracy': float('nan'), 'examples': 360}),
        ('test', {'accuracy': True, 'examples': 360}),
        ('test', {'accuracy': 0.9, 'examples': 0}),
        ('test', [0.9]),
        ('status', 'done'),
        ('status', ['finished']),
        ('seed', '0'),
        ('seed', 7),
        ('params', 1.5),
        ('params', 10**400),
        ('forward_flops', None),
        ('steps', True),
        ('images_seen', -1),
        ('images_per_second', 'fast'),
        ('train_step_flops', 1.5),
        ('flops_per_second', float('inf')),
        ('flops_per_second', [1e9]),
        ('mfu', -0.1),
        ('mfu', '40%'),
        ('host_gap_share', 1.5),
    ],
)
def test_a_field_that_makes_no_sense_is_named_and_its_run_not_counted(workdir, field, value):
    workdir.add('arm', 0)
    path = workdir.add('arm', 1) / 'result.json'
    _change(path, **{field: value})
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    assert field in sweep.warnings[0]
    assert len(sweep.warnings[0]) < 500


def test_the_speed_of_a_run_is_that_of_its_whole_population(workdir):
    workdir.add('alone', 0)
    workdir.add('together', 0, 0.9, {'model.mixer': 'conv'}, {'population': {'size': 3}})
    alone, together = (arm.runs[0].result.images_per_second for arm in runs.read(workdir.write()).arms)
    assert together == 3 * alone


def test_context_of_the_wrong_type_is_unknown(workdir):
    path = workdir.add('arm', 0) / 'result.json'
    _change(path, git='x', versions=[1], device=None, selection=3, train='y', images_per_second=None)
    result = runs.read(workdir.write()).arms[0].runs[0].result
    assert (result.commit, result.versions, result.device, result.selection_rule, result.train_examples) == (None,) * 5


@pytest.mark.parametrize(
    ('changes', 'device'),
    [
        ({}, '1 x cpu'),
        ({'device.cpu': 'AMD EPYC', 'device.cores': 2}, '1 x cpu (AMD EPYC, 2 cores)'),
        ({'device.cpu': 'AMD\nEPYC', 'device.cores': 1}, '1 x cpu (AMD EPYC, 1 core)'),
        ({'device.cpu': 3, 'device.cores': 'x'}, '1 x cpu'),
        ({'device.count': None}, 'cpu'),
        (
            {'device.kind': 'some GPU', 'device.matmul_precision': 'high'},
            '1 x some GPU (float32 products: high precision)',
        ),
    ],
)
def test_a_device_is_told_by_its_name_and_what_its_numbers_depend_on(workdir, changes, device):
    workdir.add('arm', 0, result=changes)
    assert runs.read(workdir.write()).arms[0].runs[0].result.device == device


def test_what_older_results_lack_is_unknown(workdir):
    workdir.add('arm', 0)
    result = runs.read(workdir.write()).arms[0].runs[0].result
    speeds = (result.train_step_flops, result.flops_per_second, result.mfu, result.host_gap_share)
    assert speeds == (None,) * 4
    assert (result.population, result.processes, result.cache) == (1, 1, None)


@pytest.mark.parametrize('population', [7, {'size': 'many', 'processes': -1}, {'size': 0, 'processes': 0}, None])
@pytest.mark.parametrize('cache', [3, {'hits': 3}, {'hits': 'all', 'misses': 0}, {'hits': 1, 'misses': -1}])
def test_a_population_or_a_cache_that_makes_no_sense_is_unknown(workdir, population, cache):
    path = workdir.add('arm', 0) / 'result.json'
    _change(path, population=population, compilation_cache=cache)
    result = runs.read(workdir.write()).arms[0].runs[0].result
    assert (result.population, result.processes, result.cache) == (1, 1, None)


def test_speeds_and_what_they_are_of_are_read(workdir):
    path = workdir.add('arm', 0) / 'result.json'
    _change(
        path, train_step_flops=10**12, flops_per_second=3.5e11, mfu=0.41, host_gap_share=0,
        population={'size': 8, 'processes': 2}, compilation_cache={'hits': 50, 'misses': 3},
    )  # fmt: skip
    result = runs.read(workdir.write()).arms[0].runs[0].result
    assert (result.train_step_flops, result.flops_per_second, result.mfu, result.host_gap_share) == (
        10**12,
        3.5e11,
        0.41,
        0,
    )
    assert (result.population, result.processes, result.cache) == (8, 2, (50, 3))


def test_a_number_that_was_changed_is_not_counted(workdir):
    """Every field makes sense, and yet it is not what the run wrote."""
    workdir.add('arm', 0)
    path = workdir.add('arm', 1, accuracy=0.875) / 'result.json'
    path.write_text(path.read_text().replace('0.875', '0.975'))
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    assert 'checksum' in sweep.warnings[0]


def test_a_damaged_config_leaves_the_result_standing(workdir):
    folder = workdir.add('arm', 0)
    (folder / 'config.json').write_text('{"seed"')
    sweep = runs.read(workdir.write())
    assert sweep.arms[0].complete
    assert 'config.json' in sweep.warnings[0]


def test_a_pipe_or_a_folder_in_place_of_a_file_does_not_hang(workdir):
    workdir.add('arm', 0)
    for seed, make in ((1, os.mkfifo), (2, os.mkdir)):
        path = workdir.add('arm', seed) / 'result.json'
        path.unlink()
        make(path)
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged', 'damaged']


def test_a_huge_file_is_refused_unread(workdir):
    workdir.add('arm', 0)
    path = workdir.add('arm', 1) / 'result.json'
    with path.open('wb') as file:
        file.truncate(reading.LARGEST_FILE + 1)
    assert 'too large' in runs.read(workdir.write()).warnings[0]
