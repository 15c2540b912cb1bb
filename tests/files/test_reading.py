"""What is whole is read; tests/reliability/test_hostile_files.py has what is not."""

import json

import pytest

from files.reading import Damaged, parse, read_json, read_json_if_whole, read_lines, unreadable


def test_an_object_is_read_and_a_missing_file_is_none(tmp_path):
    path = tmp_path / 'a.json'
    for read in (read_json, read_json_if_whole):
        assert read(path) is None
        path.write_text('{"a": [1, {"b": null}]}')
        assert read(path / 'below a file') is None
        assert read(path) == {'a': [1, {'b': None}]}
        path.unlink()


def test_lines_are_read_up_to_a_torn_one(tmp_path):
    path = tmp_path / 'a.jsonl'
    assert [*read_lines(path)] == []
    path.write_text('{"step": 1}\n[2]\n{"step":')
    assert [*read_lines(path)] == [{'step': 1}, [2]]


@pytest.mark.parametrize(('content', 'why'), [(b'\xff', 'torn or not JSON'), (b'[' * 50 + b']' * 50, 'nested')])
def test_what_is_no_json_says_why(content, why):
    with pytest.raises(Damaged, match=why):
        parse(content)


def test_what_json_writes_is_parsed():
    value = {'a': [1, 2.5, 'x', None, True], 'b': {'c': {}}}
    assert parse(json.dumps(value).encode()) == value


def test_what_a_library_makes_of_a_file_that_it_cannot_read_is_told_in_one_line(tmp_path):
    told = unreadable(tmp_path, ValueError('no zarr\n  metadata'))
    assert isinstance(told, Damaged)
    assert str(told) == f'{tmp_path} cannot be read (ValueError: no zarr metadata)'
