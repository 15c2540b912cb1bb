"""Peaks are the vendors' or none, and a share of one is counted by hand."""

import jax
import pytest

from configs import base
from training.hardware import PEAK, peak_flops, utilisation


@pytest.mark.parametrize(
    ('kind', 'dtype', 'tera'),
    [
        ('NVIDIA H100 80GB HBM3', 'bfloat16', 989.5),
        ('NVIDIA H100 80GB HBM3', 'float32', 494.5),  # TF32, JAX's default there
        ('NVIDIA A100-SXM4-80GB', 'bfloat16', 312),
        ('Tesla V100-SXM2-16GB', 'float32', 15.7),
        ('TPU v3', 'bfloat16', 61.5),  # a core, which is what JAX calls a device
        ('TPU v4', 'float32', 275),  # one pass of bfloat16
    ],
)
def test_peaks_are_those_of_data_sheets(kind, dtype, tera):
    assert peak_flops(kind, dtype) == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    ('kind', 'dtype'),
    [
        (jax.devices('cpu')[0].device_kind, 'float32'),
        ('', 'float32'),
        ('NVIDIA A100-SXM4-40GB MIG 1g.5gb', 'bfloat16'),  # a slice of one
        ('NVIDIA H100', 'bfloat16'),  # of which board?
        ('Tesla T4', 'bfloat16'),  # it has no units for it
        ('NVIDIA L4', 'float64'),
        ('NVIDIA L4', '__doc__'),
    ],
)
def test_what_is_not_known_is_none_and_never_a_guess(kind, dtype):
    assert peak_flops(kind, dtype) is None
    assert utilisation(1e9, 10, 2.0, kind, 1, dtype) == {'flops_per_second': 5e9, 'mfu': None}


def test_another_precision_has_another_peak():
    with jax.default_matmul_precision('highest'):
        assert peak_flops('NVIDIA L4', 'float32') is None
        assert peak_flops('NVIDIA L4', 'bfloat16') == 121e12


@pytest.mark.parametrize('kind', PEAK)
def test_every_peak_is_dense_and_of_one_device(kind):
    """None is beyond the fastest chip's, float32 never beats bfloat16, and what bfloat16 lacks has no such units."""
    peak = PEAK[kind]
    assert 8e12 < peak.float32 <= (peak.bfloat16 or peak.float32) <= 2.25e15
    assert peak.bfloat16 or kind.startswith('Tesla')
    assert base.get_config().train.compute_dtype in peak._fields == base.COMPUTE_DTYPES


@pytest.mark.parametrize('kind', [kind for kind in PEAK if PEAK[kind].bfloat16])
def test_bfloat16_is_twice_tensorfloat32_and_all_that_a_tpu_has(kind):
    """So a rate with sparsity is not taken for one without."""
    ratio = 1 if kind.startswith('TPU') else 2
    assert PEAK[kind].bfloat16 == pytest.approx(ratio * PEAK[kind].float32, rel=0.03)


def test_utilisation_is_the_share_of_all_devices_peak():
    # 1,000 steps of 3.12e12 FLOPs in 20 seconds: 156 TFLOP/s on two devices of 312.
    assert utilisation(3.12e12, 1000, 20.0, 'NVIDIA A100-SXM4-40GB', 2, 'bfloat16') == {
        'flops_per_second': pytest.approx(156e12),
        'mfu': pytest.approx(0.25),
    }
