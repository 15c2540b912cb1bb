"""Makes the environment that has TensorFlow, and runs the commands that make it and that need it."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKFILE = ROOT / 'requirements' / 'prepare.txt'
ENVIRONMENT = ROOT / '.venv-prepare'
TAIL = 4000  # bytes of a failed command's output that are shown


class Failed(Exception):
    """Something went wrong that the command's user did not cause; the message may hold the output that tells."""


def python_with_tensorflow() -> Path:
    """The Python that has TensorFlow; its environment is made where it is missing or not of the present lock."""
    python, stamp = ENVIRONMENT / 'bin' / 'python', ENVIRONMENT / 'lock.sha256'
    wanted = hashlib.sha256(LOCKFILE.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f'making {ENVIRONMENT} from {os.path.relpath(LOCKFILE, ROOT)} (TensorFlow; once)', file=sys.stderr)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    for command in _commands(python):
        run(command, f'could not make {ENVIRONMENT} with `{command[0]}`')
    stamp.write_text(wanted)  # last, so that half an environment is never taken for a whole one
    return python


def _commands(python: Path) -> list[list[str]]:
    own = ROOT / '.tools' / 'bin' / 'uv'
    uv = str(own) if own.exists() else shutil.which('uv')
    if uv:
        return [
            [uv, 'venv', '--quiet', '--no-python-downloads', '--python', sys.executable, str(ENVIRONMENT)],
            [uv, 'pip', 'install', '--quiet', '--python', str(python), '-r', str(LOCKFILE)],
        ]
    return [
        [sys.executable, '-m', 'venv', str(ENVIRONMENT)],
        [str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', str(LOCKFILE)],
    ]


def run(
    command: list[str], failure: str, environment: Mapping[str, str] | None = None, report: Path | None = None
) -> str:
    """Runs a command, its output shown where someone watches and kept where not; gives the end of it.

    Raises:
      Failed: the command could not start, or it failed without writing `report`.
    """
    tail = b''
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    except OSError as error:
        raise Failed(f'{failure} ({error.strerror})') from error
    with process:
        while chunk := process.stdout.read1():
            tail = (tail + chunk)[-TAIL:]
            if sys.stderr.isatty():
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
    output = tail.decode(errors='replace').strip()
    if process.returncode and not (report and report.is_file()):
        raise Failed(f'{failure}\n{output}')
    return output
