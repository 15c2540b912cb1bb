from training import checkpoints


def test_a_checkpoint_that_is_set_aside_again_leaves_the_first_copy_there(tmp_path):
    for content in ('first', 'second'):
        (tmp_path / 'checkpoints' / '7').mkdir(parents=True)
        (tmp_path / 'checkpoints' / '7' / 'a').write_text(content)
        checkpoints.set_aside(tmp_path, 7, 'damaged')
    kept = sorted((tmp_path / 'checkpoints_set_aside').glob('*/a'))
    assert [path.read_text() for path in kept] == ['first', 'second']


def test_folders_that_are_no_steps_are_no_checkpoints(tmp_path):
    for name in ('12', '3', '007', '²', '٣', '0', 'tmp.4', '-1'):
        (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    assert checkpoints.steps(tmp_path) == [3, 12]
