"""What a run came to, in lines to print."""

from pathlib import Path
from typing import Any


def to_text(result: dict[str, Any], workdir: Path) -> str:
    """Of a result.json: the scores, the model's size, and how long it took."""
    if result['status'] == 'diverged':
        return f'diverged: the loss was not finite at step {result["diverged_step"]:,}; result in {workdir}'
    validation, test = result['validation'], result['test']
    selected = f'step {result["selection"]["step"]:,}, validation accuracy {validation["accuracy"]:.2%}'
    return (
        f'test accuracy {test["accuracy"]:.2%}, loss {test["loss"]:.4f} ({test["examples"]:,} images; {selected})\n'
        f'{result["params"]:,} params, {result["forward_flops"]:,} forward FLOPs an image; in all, compiled '
        f'for {result["compile_seconds"]:.1f} s and trained {result["steps"]:,} steps in '
        f'{result["train_seconds"]:.1f} s ({result["images_per_second"]:,.0f} images/s); result in {workdir}\n'
        f'{start_line(result)}'
    )


def start_line(result: dict[str, Any]) -> str:
    """How soon the first step of the last start came, and what the cache had to do with it."""
    seconds, cache = result.get('first_step_seconds'), result.get('compilation_cache')
    if seconds is None:
        return 'the last start had no step left to take'
    first = f'the first step of the last start came after {seconds:.1f} s'
    if cache is None:
        return f'{first}; no cache of compiled programs was in use'
    return f'{first}; {cache["hits"]} programs came from the cache, {cache["misses"]} were compiled'
