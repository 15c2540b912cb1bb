"""What a result was made with: commit, code, versions, device."""

import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from files.checksums import sha256
from machine.cores import cores_allowed

ROOT = Path(__file__).resolve().parent.parent
MAKERS = ('data', 'experiment', 'files', 'machine', 'models', 'training')  # the packages that make a run's numbers
USUALLY = {'jax_default_prng_impl': 'threefry2x32', 'jax_threefry_partitionable': True}  # JAX's own defaults
# By Linux's flag, the widest first.
VECTORS = {'avx512f': 'AVX-512', 'avx2': 'AVX2', 'avx': 'AVX', 'sve2': 'SVE2', 'sve': 'SVE'}
ARM = ('CPU implementer', 'CPU variant', 'CPU part')  # what Linux tells of a core in place of a name


def git() -> dict[str, str | bool | None]:
    """The commit of this code, and whether what makes a run's numbers differs from it; None outside a checkout."""
    commit = _git('rev-parse', 'HEAD')
    # A new file that git does not track yet is a difference too; a run's folder, or somebody's config, is none.
    changes = _git('status', '--porcelain', '--', *(f'{package}/*.py' for package in MAKERS))
    return {'commit': commit, 'dirty': None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(['git', '-C', str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@functools.cache
def code(root: Path = ROOT) -> dict[str, str]:
    """The SHA-256 of all sources that make a run's numbers, in short: it changes when they do, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(path for package in MAKERS for path in (root / package).rglob('*.py')):
        name = path.relative_to(root)
        # Editors leave links and copies beside a file, under names that no import finds.
        if path.is_file() and all(part.removesuffix('.py').isidentifier() for part in name.parts):
            digest.update(f'{name} {sha256(path)}\n'.encode())
    return {'sha256': digest.hexdigest()[:16]}


def versions() -> dict[str, str]:
    """Of Python and of the libraries that numbers depend on; and how random numbers are drawn, if not as usual."""
    packages = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'dm-pix', 'diffrax')
    versions = {'python': platform.python_version()} | {name: metadata.version(name) for name in packages}
    drawn = {name: getattr(jax.config, name) for name in USUALLY}
    return versions | {name: str(value) for name, value in drawn.items() if value != USUALLY[name]}


def device(used: int = 1) -> dict[str, str | int]:
    """What `used` devices are that something ran on, and how many such devices there are.

    Of a CPU, also its cores; of others, how exact their products of float32 are (JAX_DEFAULT_MATMUL_PRECISION): by
    default that is less than float32, such as TF32 on NVIDIA's GPUs.
    """
    devices = jax.devices()
    backend = devices[0].platform
    if backend == 'cpu':
        own = {'cpu': cpu_model(), 'cores': len(cores_allowed())}
    else:
        own = {'matmul_precision': str(jax.config.jax_default_matmul_precision or 'default')}
    return {'kind': devices[0].device_kind, 'platform': backend, **own, 'count': used, 'visible': len(devices)}


def maker(made_by: dict[str, Any]) -> dict[str, Any]:
    """What of a result's origin decides its numbers, and how sums are rounded: code, data, versions and device.

    A commit that touches other files leaves them as they are. A run may move to any number of devices, and its
    checkpoints stay what they are; a CPU of another kind, or other cores of one, add up in another order.
    """
    device = {name: value for name, value in made_by['device'].items() if name not in ('count', 'visible')}
    return {name: made_by[name] for name in ('code', 'data', 'versions')} | {'device': device}


def cpu_model(told_in: Path = Path('/proc/cpuinfo')) -> str:
    """What this machine's CPU is called, and its widest vectors: some clouds give several of a maker's one name."""
    try:
        lines = told_in.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value for name, _, value in (line.partition(': ') for line in lines)}
    core = ' '.join([platform.machine(), *(told[name] for name in ARM if name in told)])
    flags = told.get('flags', told.get('Features', '')).split()
    vectors = next((called for flag, called in VECTORS.items() if flag in flags), '')
    return ', '.join(filter(None, (told.get('model name', core), vectors)))
