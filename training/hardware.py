"""What a device could compute at most, and what share of that a run got.

The rates are the vendors', of dense matrix products (none with structured sparsity), in FLOP/s of one JAX device. A
device that is not listed by its exact `device_kind` has none: every CPU, a slice of a GPU, a board whose data sheet
was not at hand. The sources state a rate with sparsity where noted, of which half is taken.
"""

from typing import NamedTuple

import jax


class Peak(NamedTuple):
    """Peak FLOP/s by train.compute_dtype.

    float32 is what JAX makes of float32 products unless told otherwise: TensorFloat-32 on NVIDIA's GPUs since Ampere,
    one pass of bfloat16 on a TPU (jax.lax.Precision.DEFAULT; docs.jax.dev, "Matmul precision"). None: the device has
    no units for that type.
    """

    float32: float
    bfloat16: float | None


TERA = 1e12

# NVIDIA H100 and H200 data sheets, with sparsity (TF32 and bfloat16: SXM 989 and 1,979, PCIe 756 and 1,513, NVL 835
# and 1,671 TFLOPS).
HOPPER_SXM = Peak(989 / 2 * TERA, 1979 / 2 * TERA)
HOPPER_PCIE = Peak(756 / 2 * TERA, 1513 / 2 * TERA)
HOPPER_NVL = Peak(835 / 2 * TERA, 1671 / 2 * TERA)
# NVIDIA Blackwell architecture technical brief, HGX B200, of one GPU, dense.
BLACKWELL = Peak(1100 * TERA, 2250 * TERA)
# NVIDIA A100 data sheet; the same for SXM and PCIe.
AMPERE = Peak(156 * TERA, 312 * TERA)
# NVIDIA V100 data sheet: single precision, since its tensor cores know neither TF32 nor bfloat16.
VOLTA_SXM = Peak(15.7 * TERA, None)
VOLTA_PCIE = Peak(14 * TERA, None)

PEAK = {
    'NVIDIA B200': BLACKWELL,
    'NVIDIA H200': HOPPER_SXM,
    'NVIDIA H100 80GB HBM3': HOPPER_SXM,
    'NVIDIA H100 PCIe': HOPPER_PCIE,
    'NVIDIA H100 NVL': HOPPER_NVL,
    'NVIDIA A100-SXM4-40GB': AMPERE,
    'NVIDIA A100-SXM4-80GB': AMPERE,
    'NVIDIA A100-PCIE-40GB': AMPERE,
    'NVIDIA A100 80GB PCIe': AMPERE,
    'Tesla V100-SXM2-16GB': VOLTA_SXM,
    'Tesla V100-SXM2-32GB': VOLTA_SXM,
    'Tesla V100-PCIE-16GB': VOLTA_PCIE,
    'Tesla V100-PCIE-32GB': VOLTA_PCIE,
    'Tesla T4': Peak(8.1 * TERA, None),  # NVIDIA T4 data sheet: single precision, as for V100
    'NVIDIA L4': Peak(120 / 2 * TERA, 242 / 2 * TERA),  # NVIDIA L4 data sheet, with sparsity
    'NVIDIA L40S': Peak(183 * TERA, 362.05 * TERA),  # NVIDIA L40S data sheet, dense
    'NVIDIA A10': Peak(62.5 * TERA, 125 * TERA),  # NVIDIA A10 data sheet, dense
    'NVIDIA A10G': Peak(35 * TERA, 70 * TERA),  # NVIDIA A10G data sheet, by AWS, dense
    # NVIDIA's architecture white papers (GA102, Ada, RTX Blackwell), dense, bfloat16 with float32 sums.
    'NVIDIA GeForce RTX 3090': Peak(35.6 * TERA, 71 * TERA),
    'NVIDIA GeForce RTX 4090': Peak(82.6 * TERA, 165.2 * TERA),
    'NVIDIA GeForce RTX 5090': Peak(104.8 * TERA, 209.5 * TERA),
}

# Google's pages on each version (cloud.google.com/tpu/docs/v2 ... v6e), bfloat16, of a chip. A JAX device is a chip,
# but of v2 and v3 one of a chip's two cores. The kinds are those of jax._src.pallas.mosaic.tpu_info.
TPU_CHIPS = {
    'TPU v2': 45 / 2,
    'TPU v3': 123 / 2,
    'TPU v4': 275,
    'TPU v5 lite': 197,
    'TPU v5e': 197,
    'TPU v5': 459,
    'TPU v5p': 459,
    'TPU v6 lite': 918,
    'TPU v6e': 918,
}
PEAK |= {kind: Peak(rate * TERA, rate * TERA) for kind, rate in TPU_CHIPS.items()}


def peak_flops(kind: str, dtype: str) -> float | None:
    """The most FLOP/s of one device, by its `device_kind` and by train.compute_dtype; None where that is not known.

    Also None for float32 when JAX was told to compute it otherwise than by default (jax_default_matmul_precision).
    """
    if dtype == 'float32' and jax.config.jax_default_matmul_precision not in (None, 'default'):
        return None
    peak = PEAK.get(kind)
    return None if peak is None else peak._asdict().get(dtype)


def utilisation(
    flops_per_step: float, steps: int, seconds: float, kind: str, count: int | float, dtype: str
) -> dict[str, float | None]:
    """What `count` devices, on average, achieved over `seconds` of training.

    Args:
      flops_per_step: models.accounting.train_step_flops, of all that the devices computed together in a step.
      kind, dtype: as for `peak_flops`.
    Returns:
      flops_per_second, and mfu, its share of the devices' peak in [0, 1] (model FLOPs utilisation, Chowdhery et al.
      2022, arXiv:2204.02311, appendix B); None where the peak is not known.
    """
    achieved = flops_per_step * steps / seconds
    peak = peak_flops(kind, dtype)
    return {'flops_per_second': achieved, 'mfu': None if peak is None else achieved / (count * peak)}
