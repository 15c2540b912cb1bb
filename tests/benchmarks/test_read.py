import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import read
from benchmarks.read import ASKED, CACHED, TOUCHED
from experiment.environment import ROOT


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(read, 'SHAPE', (3, 5, 3))
    path = tmp_path / 'images.npy'
    read.write(path, 150)
    return path


def test_what_is_written_is_noise_and_no_two_images_are_the_same(small):
    images = np.load(small)
    assert images.shape == (150, 3, 5, 3)
    assert len(np.unique(images.reshape(150, -1), axis=0)) == 150


def test_a_round_reads_the_same_rows_both_ways(small, monkeypatch):
    images, seen = np.load(small), []
    real = read.read_twice

    def watched(path, way, rows):
        seen.append(rows)
        np.testing.assert_array_equal(way(images, rows), images[rows])
        return real(path, way, rows)

    monkeypatch.setattr(read, 'read_twice', watched)
    row = read.measure(small, 8, seconds=0.0, fewest=3)
    assert row['rounds'] == 3
    rounds = np.array(seen).reshape(3, 2, 8)
    np.testing.assert_array_equal(rounds[:, 0], rounds[:, 1])
    assert len(np.unique(rounds[:, 0], axis=0)) == 3
    assert row['images_per_second'].keys() == {ASKED, TOUCHED, CACHED}
    assert min(row['images_per_second'].values()) > 0
    assert ' 8 |' in read.to_markdown([row])


def test_the_ratio_is_of_the_times_of_a_round(small, monkeypatch):
    taken = iter([(1.0, 0.5), (3.0, 9.0), (8.0, 9.0), (2.0, 0.1)])  # every other round runs backwards
    monkeypatch.setattr(read, 'read_twice', lambda *arguments: next(taken))
    row = read.measure(small, 6, seconds=0.0, fewest=2)
    assert row['ratio'] == {'median': 3.5, 'low': 3.25, 'high': 3.75}
    assert row['images_per_second'] == {ASKED: 4.0, TOUCHED: pytest.approx(6 / 5.5), CACHED: 20.0}


def test_the_command_prints_markdown_writes_json_and_leaves_no_images(tmp_path):
    folder, path = tmp_path / 'disk', tmp_path / 'new' / 'read.json'
    arguments = ['--images=20', '--batch=4', '--seconds=0', f'--folder={folder}', f'--json={path}']
    command = [sys.executable, '-m', 'benchmarks.read', *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    written = json.loads(path.read_text())
    assert [row['batch'] for row in written['rows']] == [4]
    assert written['images'] == 20
    lines = done.stdout.splitlines()
    assert lines[0].startswith('## ')
    assert sum(line.startswith('|') for line in lines) == 3
    assert written['machine']['versions']['jax'] in done.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize('flag', ['folder', 'json'])
def test_a_flag_whose_folder_cannot_be_made_is_named(tmp_path, flag):
    (tmp_path / 'file').touch()
    place = tmp_path / 'file' / 'x' / 'read.json'
    command = [sys.executable, '-m', 'benchmarks.read', '--images=1', '--seconds=0', f'--{flag}={place}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f'--{flag}: {place if flag == "folder" else place.parent}: not a directory' in done.stderr
    assert len(done.stderr.splitlines()) == 1
