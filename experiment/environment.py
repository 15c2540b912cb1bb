"""What a result was made with: commit, versions, device."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parent.parent


def git() -> dict[str, str | bool | None]:
    """The commit of this code, and whether the working tree differs from it; None outside a checkout."""
    commit = _git('rev-parse', 'HEAD')
    changes = _git('status', '--porcelain')  # a new file that git does not track yet is a difference too
    return {'commit': commit, 'dirty': None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(['git', '-C', str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Of Python and of the libraries that numbers depend on."""
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
    return {'python': platform.python_version()} | {name: metadata.version(name) for name in packages}


def device(used: int = 1) -> dict[str, str | int]:
    """What `used` devices are that something ran on, and how many such devices there are."""
    devices = jax.devices()
    return {'kind': devices[0].device_kind, 'platform': devices[0].platform, 'count': used, 'visible': len(devices)}
