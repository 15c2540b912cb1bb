"""What a result says of where it was made."""

import ast
import copy

import jax
import pytest

from experiment.environment import MAKERS, ROOT, code, cpu_model, maker, versions


@pytest.mark.parametrize(
    ('flags', 'called'),
    [('sse avx avx2 avx512f avx512bw', 'AMD EPYC, AVX-512'), ('avx avx2', 'AMD EPYC, AVX2'), ('sse', 'AMD EPYC')],
)
def test_cpus_of_one_name_that_round_otherwise_are_told_apart(flags, called, tmp_path):
    told_in = tmp_path / 'cpuinfo'
    told_in.write_text(f'processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n\nprocessor\t: 1\n')
    assert cpu_model(told_in) == called


def test_cores_of_arm_which_have_no_name_are_told_apart(tmp_path):
    told_in = tmp_path / 'cpuinfo'
    names = set()
    for variant, part, features in [
        ('0x1', '0xd0c', 'fp asimd'),
        ('0x1', '0xd40', 'fp sve'),
        ('0x0', '0xd4f', 'sve sve2'),
    ]:
        told_in.write_text(
            f'Features\t: {features}\nCPU implementer\t: 0x41\nCPU variant\t: {variant}\nCPU part\t: {part}\n'
        )
        names.add(cpu_model(told_in))
    assert len(names) == 3
    assert any(name.endswith('0x41 0x0 0xd4f, SVE2') for name in names)


def test_a_system_that_does_not_tell_has_a_name_too(tmp_path):
    assert cpu_model(tmp_path / 'missing')
    (tmp_path / 'cpuinfo').write_text('processor : 0\n')
    assert cpu_model(tmp_path / 'cpuinfo')


def test_code_is_another_when_a_source_of_numbers_is_and_not_when_anything_else_is(tmp_path):
    for package in ('models', 'models/positions', 'training', 'analysis'):
        (tmp_path / package).mkdir()
        (tmp_path / package / 'one.py').write_text('x = 1\n')

    def now():
        code.cache_clear()
        return code(tmp_path)

    first = now()
    (tmp_path / 'analysis' / 'one.py').write_text('x = 2\n')
    (tmp_path / 'models' / 'notes.txt').write_text('no code')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'models' / '.#one.py').symlink_to('somebody@there.7')
    (tmp_path / 'models' / '.ipynb_checkpoints').mkdir()
    (tmp_path / 'models' / '.ipynb_checkpoints' / 'one-checkpoint.py').write_text('x = 3\n')
    assert now() == first
    (tmp_path / 'models' / 'positions' / 'one.py').write_text('x = 2\n')
    edited = now()
    (tmp_path / 'models' / 'positions' / 'one.py').rename(tmp_path / 'models' / 'positions' / 'two.py')
    assert len({str(one) for one in (first, edited, now())}) == 3


def test_every_package_that_those_of_the_code_import_is_of_it_too():
    """But configs, whose numbers stand in a run's config.json."""
    ours = {path.parent.name for path in ROOT.glob('*/__init__.py')}
    imported = set()
    for path in (path for package in MAKERS for path in (ROOT / package).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {name.partition('.')[0] for name in names if name}
    assert imported & ours <= {*MAKERS, 'configs'}


def test_versions_say_where_random_numbers_are_not_the_usual_ones():
    usual = versions()
    assert {'python', 'jax', 'numpy', 'dm-pix', 'diffrax'} <= set(usual)
    with jax.default_prng_impl('rbg'):
        assert versions() == usual | {'jax_default_prng_impl': 'rbg'}
    with jax.threefry_partitionable(False):
        assert versions() == usual | {'jax_threefry_partitionable': 'False'}


@pytest.mark.parametrize(
    ('group', 'name', 'value', 'differs'),
    [
        *[('code', 'sha256', '4567', True), ('data', 'sha256', '4567', True), ('versions', 'jax', '0.1', True)],
        *[('device', 'kind', 'TPU', True), ('device', 'cpu', 'EPYC', True), ('device', 'cores', 1, True)],
        *[('device', 'matmul_precision', 'highest', True), ('git', 'commit', '89ab', False)],
        *[('device', 'count', 8, False), ('device', 'visible', 8, False)],
    ],
)
def test_a_maker_is_another_where_numbers_may_be(group, name, value, differs):
    one = {
        'git': {'commit': '0123'}, 'code': {'sha256': '0123'}, 'data': {'sha256': '0123'}, 'versions': {'jax': '0.2'},
        'device': {'kind': 'cpu', 'cpu': 'Xeon', 'cores': 2, 'matmul_precision': 'default', 'count': 1, 'visible': 1},
    }  # fmt: skip
    other = copy.deepcopy(one)
    other[group][name] = value
    assert (maker(one) != maker(other)) == differs
