"""What a user would pick instead: the same models and the same training step in PyTorch.

Runs in an environment of its own (requirements/bench.txt) and imports nothing of patchwise: benchmarks.train_step
starts `python benchmarks/peers.py`, and asks it a line of JSON at a time. A `torch.nn` model here has the layers of
its counterpart one by one, so that weights can be copied across and outputs compared.
"""

import contextlib
import ctypes
import json
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

EPSILON = 1e-6  # of the norms, as in patchwise
BETAS = (0.9, 0.999)
Weights = dict[str, np.ndarray]  # by their names in patchwise


class Attention(nn.Module):
    """Multi-head attention through PyTorch's fused kernel."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class Convolution(nn.Module):
    """A 3 x 3 convolution over the grid of tokens."""

    def __init__(self, dim: int, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x.transpose(1, 2).unflatten(2, self.grid)
        return self.conv(image).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, fields: dict[str, Any], grid: tuple[int, int]):
        super().__init__()
        dim, hidden = fields['embed_dim'], round(fields['mlp_ratio'] * fields['embed_dim'])
        attends = fields['mixer'] == 'attention'
        self.norm_mixer, self.norm_mlp = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)
        self.mixer = Attention(dim, fields['num_heads']) if attends else Convolution(dim, grid)
        self.mlp = nn.ModuleDict({'expand': nn.Linear(dim, hidden), 'contract': nn.Linear(hidden, dim)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mixer(self.norm_mixer(x))
        hidden = functional.gelu(self.mlp['expand'](self.norm_mlp(x)), approximate='tanh')
        return x + self.mlp['contract'](hidden)


class Backbone(nn.Module):
    """models/backbone.py: patches, learned positions, blocks, a mean over tokens, a head."""

    def __init__(self, fields: dict[str, Any], image_shape: list[int], classes: int):
        super().__init__()
        dim, size = fields['embed_dim'], fields['patch_size']
        rows, columns = image_shape[0] // size, image_shape[1] // size
        self.patch_size = size
        self.project = nn.Linear(size * size * image_shape[2], dim)
        self.table = nn.Parameter(torch.zeros(rows * columns, dim)) if fields['positions'] == 'learned_1d' else None
        self.blocks = nn.Sequential(*(Block(fields, (rows, columns)) for _ in range(fields['depth'])))
        self.norm, self.head = nn.LayerNorm(dim, EPSILON), nn.Linear(dim, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = images.shape
        size = self.patch_size
        squares = images.reshape(batch, height // size, size, width // size, size, channels)
        x = self.project(squares.transpose(2, 3).reshape(batch, -1, size * size * channels))
        if self.table is not None:
            x = x + self.table
        return self.head(self.norm(self.blocks(x)).mean(1))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = group_norm(outputs), group_norm(outputs)
        projects = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(
            *([nn.Conv2d(inputs, outputs, 1, stride, bias=False), group_norm(outputs)] if projects else [])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(self.shortcut(x) + residual)


class ResNet(nn.Module):
    """models/resnet.py with the stem for small images."""

    def __init__(self, fields: dict[str, Any], image_shape: list[int], classes: int):
        super().__init__()
        width = fields['resnet_width']
        self.stem, self.norm = nn.Conv2d(image_shape[2], width, 3, 1, 1, bias=False), group_norm(width)
        sizes = [(width * 2 ** max(0, stage - (index == 0)), width * 2**stage, 1 + (stage > 0 and index == 0))
                 for stage in range(4) for index in range(2)]  # fmt: skip
        self.blocks = nn.Sequential(*(ResidualBlock(*size) for size in sizes))
        self.head = nn.Linear(8 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # A view: PyTorch reads it as channels last, the layout that its convolutions prefer on a CPU.
        x = functional.relu(self.norm(self.stem(images.permute(0, 3, 1, 2))))
        return self.head(self.blocks(x).mean((2, 3)))


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of 16 channels, as models.resnet has at the widths that are measured, of which 16 is a divisor."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels, eps=EPSILON)


def load(model: nn.Module, weights: Weights) -> None:
    """Copies patchwise's weights into `model`: dense kernels transposed, those of convolutions as PyTorch has them."""
    renamed = {}
    for name, array in weights.items():
        name = name.removeprefix('patches.')
        if name.startswith('positions.'):
            name, array = 'table', array.reshape(-1, array.shape[-1])
        elif name.endswith('.kernel'):
            name = name.replace('.kernel', '.weight')
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        name = name.replace('.scale', '.weight')
        renamed[name] = torch.from_numpy(np.ascontiguousarray(array))
    model.load_state_dict(renamed)


class Arm:
    """A model and its training step: cross-entropy, clipping, AdamW."""

    def __init__(self, case: dict[str, Any], arrays: str, compiled: bool = False, share: slice = slice(None)):
        held = np.load(arrays, allow_pickle=False)
        weights = {name.removeprefix('params.'): held[name] for name in held if name.startswith('params.')}
        network = {'backbone': Backbone, 'resnet': ResNet}[case['model']['name']]
        self.model = network(case['model'], case['image_shape'], case['classes'])
        load(self.model, weights)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.images = torch.from_numpy(held['images'])[share]
        self.labels = torch.from_numpy(held['labels'])[share].long()
        self.recipe = case['recipe']
        kernels, others = [], []  # which decay, and norms, biases and positions, which do not
        for name, parameter in self.model.named_parameters():
            (kernels if parameter.ndim > 1 and name != 'table' else others).append(parameter)
        groups = [
            {'params': kernels, 'weight_decay': self.recipe['weight_decay']},
            {'params': others, 'weight_decay': 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, self.recipe['learning_rate'], BETAS, fused=True)
        self.dtype = getattr(torch, case['dtype'])
        # Without dynamic=False a second model of another size would be compiled for any size, and slower.
        self.loss = torch.compile(self._loss, dynamic=False) if compiled else self._loss

    def logits(self) -> np.ndarray:
        with torch.no_grad():
            return self._logits(self.images).float().numpy()

    def step(self) -> float:
        """Trains on the batch, and returns its loss before that."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.images, self.labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe['clip_norm'])
        self.optimiser.step()
        return float(loss.detach())

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast('cpu', self.dtype, enabled=self.dtype != torch.float32):
            return self.model(images.float() / 127.5 - 1)

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(self._logits(images), labels, label_smoothing=self.recipe['label_smoothing'])


class Processes:
    """The same step by `count` processes with cores of their own, which share the batch: PyTorch's data parallelism."""

    def __init__(self, case: dict[str, Any], arrays: str, count: int):
        context = multiprocessing.get_context('spawn')
        self._scratch = tempfile.TemporaryDirectory()
        self._pipes, self._processes = [], []
        cores = sorted(os.sched_getaffinity(0))
        for rank in range(count):
            ours, theirs = context.Pipe()
            given = case, arrays, rank, count, cores[rank::count], f'{self._scratch.name}/store', theirs
            self._processes.append(context.Process(target=work, args=given, daemon=True))
            self._processes[-1].start()
            theirs.close()
            self._pipes.append(ours)
        for pipe in self._pipes:
            pipe.recv()

    def step(self) -> float:
        """As Arm's."""
        for pipe in self._pipes:
            pipe.send('step')
        return sum(pipe.recv() for pipe in self._pipes) / len(self._pipes)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()
        self._scratch.cleanup()


def work(
    case: dict[str, Any], arrays: str, rank: int, count: int, cores: Sequence[int], store: str, pipe: Connection
) -> None:
    """The program of one of Processes: a step whenever it is asked, to the pipe's end."""
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(len(cores))
    keep_memory()
    distributed.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=count)
    arm = Arm(case, arrays, share=slice(rank, None, count))
    arm.model = DistributedDataParallel(arm.model, gradient_as_bucket_view=True)
    pipe.send('ready')
    with contextlib.suppress(EOFError):
        while pipe.recv():
            pipe.send(arm.step())
    distributed.destroy_process_group()


def keep_memory() -> None:
    """Has glibc reuse freed memory, as patchwise does (training/sharing/allocator.py); else each step faults."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # of musl, macOS, Windows
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-4, 0), (-1, -1), (-2, 64 * 2**20)):
            mallopt(parameter, value)


def build(case: dict[str, Any], arrays: str, names: Sequence[str], processes: int) -> dict[str, Arm | Processes]:
    """The arms of these names, all with the weights, images and labels of one file."""
    torch.compiler.reset()
    made = {
        'eager': lambda: Arm(case, arrays),
        'compiled': lambda: Arm(case, arrays, compiled=True),
        'processes': lambda: Processes(case, arrays, processes),
    }
    return {name: made[name]() for name in names}


def serve() -> None:
    """Answers each line of standard input with one on standard output."""
    keep_memory()
    arms: dict[str, Arm | Processes] = {}
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    for line in sys.stdin:
        question = json.loads(line)
        match question['ask']:
            case 'versions':
                answer = {'python': sys.version.split()[0], 'torch': torch.__version__}
            case 'threads':
                torch.set_num_threads(question['threads'])
                answer = torch.get_num_threads()
            case 'build':
                close(arms)
                arms = build(question['case'], question['arrays'], question['arms'], question['processes'])
                np.save(question['logits'], arms['eager'].logits())
                answer = list(arms)
            case 'step':
                answer = arms[question['arm']].step()
        print(json.dumps(answer), file=answers, flush=True)
    close(arms)


def close(arms: dict[str, Arm | Processes]) -> None:
    """Ends the processes of those that have some."""
    for arm in arms.values():
        if isinstance(arm, Processes):
            arm.close()


if __name__ == '__main__':
    serve()
