"""ResNet-18 with GroupNorm: the convolutional network that readers know, as the reference outside the backbone."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from models.convolve import convolve
from models.dropout import dropout
from models.layers import GroupNorm, Image
from models.patches import Coordinates

STAGES = (2, 2, 2, 2)  # blocks in each; the first keeps the resolution, each later one halves it
SMALL_IMAGE = 64  # pixels; smaller images get CIFAR's stem, which keeps their resolution
CHANNELS_PER_GROUP = 16  # Wu & He 2018 (arXiv:1803.08494), table 3


def _conv(
    inputs: int, outputs: int, size: int, stride: int, *, compute: Callable = convolve, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Conv:
    # He's initialisation (arXiv:1502.01852) by fan-out, as in torchvision's ResNet; padding as there too, which
    # SAME is not when the stride is 2.
    pad = (size - 1) // 2
    return nnx.Conv(
        inputs, outputs, (size, size), strides=(stride, stride), padding=((pad, pad), (pad, pad)), use_bias=False,
        kernel_init=nnx.initializers.variance_scaling(2.0, 'fan_out', 'normal'), conv_general_dilated=compute,
        dtype=dtype, rngs=rngs,
    )  # fmt: skip


def _norm(channels: int, scale: float = 1.0) -> GroupNorm:
    return GroupNorm(channels, channels // group_size(channels), scale)


def group_size(channels: int) -> int:
    """Channels that GroupNorm takes together: the divisor of `channels` whose ratio to CHANNELS_PER_GROUP is nearest 1.

    That is CHANNELS_PER_GROUP for the papers' widths, and near it for those that models.matching finds. It is never one
    channel of several, which would have no variance in an image of one pixel: a prime number of them is one group.
    """
    divisors = [size for size in range(2, channels + 1) if channels % size == 0] or [1]
    return min(divisors, key=lambda size: abs(math.log(size / CHANNELS_PER_GROUP)))


class ResidualBlock(nnx.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, arXiv:1512.03385, figure 2)."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, drop_path: float, number: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        made = {'dtype': dtype, 'rngs': rngs}
        self.conv1 = _conv(inputs, outputs, 3, stride, **made)
        self.norm1 = _norm(outputs)
        self.conv2 = _conv(outputs, outputs, 3, 1, **made)
        self.norm2 = _norm(outputs, scale=0.0)  # each block starts as its shortcut (Goyal et al. 2017, 5.1)
        self.drop_path, self.number = drop_path, number
        projects = stride != 1 or inputs != outputs
        self.shortcut = nnx.List([_conv(inputs, outputs, 1, stride, **made), _norm(outputs)] if projects else [])

    def __call__(
        self, x: Image, key: PRNGKeyArray | None
    ) -> Float[Array, 'batch smaller_height smaller_width outputs']:
        residual = self.norm2(self.conv2(jax.nn.relu(self.norm1(self.conv1(x)))))
        residual = dropout(residual, self.drop_path, key, 1 + self.number, shared=(1, 2, 3))  # the head's is 0
        for layer in self.shortcut:
            x = layer(x)
        return jax.nn.relu(x + residual)


class ResNet(nnx.Module):
    """ResNet-18: a stem, four stages of two blocks, a mean over the image, a linear head."""

    def __init__(
        self,
        config: ConfigDict,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        width = config.resnet_width
        self.small = min(image_shape[:2]) < SMALL_IMAGE
        stem = (3, 1) if self.small else (7, 2)
        compute = jax.lax.conv_general_dilated  # leaves the gradient of an image, which nobody asks for, uncounted too
        self.stem = _conv(image_shape[-1], width, *stem, compute=compute, dtype=dtype, rngs=rngs)
        self.norm = _norm(width)
        blocks, inputs = [], width
        for stage, count in enumerate(STAGES):
            outputs = width * 2**stage
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                # Rates and draws are those of models.backbone, and of timm's ResNet.
                drop_path = config.stochastic_depth * len(blocks) / (sum(STAGES) - 1)
                blocks.append(ResidualBlock(inputs, outputs, stride, drop_path, len(blocks), dtype=dtype, rngs=rngs))
                inputs = outputs
        self.blocks = nnx.List(blocks)
        self.dropout = config.dropout
        self.head = nnx.Linear(inputs, num_classes, dtype=jnp.float32, rngs=rngs)

    def __call__(
        self, images: Image, coordinates: Coordinates | None, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, 'batch classes'], dict[str, list[Array]]]:
        """Class logits; there are no tokens to capture, and no coordinates to give."""
        if coordinates is not None:
            raise ValueError('a resnet has no tokens: coordinates cannot be given')
        x = jax.nn.relu(self.norm(self.stem(images)))
        if not self.small:
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x, key)
        pooled = dropout(jnp.mean(x, axis=(1, 2)), self.dropout, key, stream=0)
        return self.head(pooled), {}
