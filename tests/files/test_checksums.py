import subprocess

from files.checksums import SEAL, check, seal


def test_the_seal_is_what_sha256sum_reads(tmp_path):
    (tmp_path / 'a b').write_text('x')
    (tmp_path / 'c').mkdir()
    (tmp_path / 'c' / 'd').write_text('y')
    seal(tmp_path)
    check(tmp_path)
    done = subprocess.run(['sha256sum', '--check', '--strict', SEAL], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'a b: OK\nc/d: OK\n')
