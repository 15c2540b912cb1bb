from training import checkpoints


def test_folders_that_are_no_steps_are_no_checkpoints(tmp_path):
    for name in ('12', '3', '007', '²', '٣', '0', 'tmp.4', '-1'):
        (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    assert checkpoints.steps(tmp_path) == [3, 12]
