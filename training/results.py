"""What is known of each member of a population at its end: what result.json says of training."""

import math
from typing import Any

from models.matching import width
from training import interruption
from training.hardware import utilisation
from training.progress import Progress
from training.run import Run, score
from training.step import State
from training.track import Track


def results(run: Run, state: State) -> list[dict[str, Any]]:
    """Everything that is known at the end; the test split is looked at here, and nowhere before.

    Raises:
      Interrupted: a signal came before all images were seen: the state is saved, and a scheduler may not wait for them.
    """
    splits = ('train', 'validation', 'test')
    scores = {split: score(run, state, split, interruption.stop_if_requested) for split in splits}
    for index, track in enumerate(run.tracks):
        if not all(math.isfinite(scores[split][index]['loss']) for split in scores):
            track.heard(run.steps)  # no gradient told, nor validation, of images on which it overflows
    found = [
        {'status': 'diverged', 'diverged_step': track.diverged_step, 'first_bad_operation': track.first_bad_operation}
        if track.diverged
        else {'status': 'finished'} | _result(run, track, {split: scores[split][index] for split in scores})
        for index, track in enumerate(run.tracks)
    ]
    for track, result in zip(run.tracks, found, strict=True):
        result['begun_by'] = list(track.progress.makers[:-1])
        track.finished(result)
    return found


def _result(run: Run, track: Track, scores: dict[str, dict]) -> dict[str, Any]:
    """What result.json says of one member."""
    config, steps, progress = run.config, run.steps, track.progress
    for split in scores.values():
        del split['confusion']
    images, share = steps * config.train.batch_size, 100 * config.data.validation_fraction
    chosen = width(config.model, run.dataset.spec)
    return scores | {
        'params': run.programs.costs.params,
        'forward_flops': run.programs.costs.forward_flops,
        'train_step_flops': run.programs.costs.train_step_flops,
        'width': chosen.fields,
        'reference': None if chosen.reference is None else {config.model.match: chosen.reference},
        'peak_memory_bytes': run.programs.costs.peak_memory_bytes,
        'population': {'size': run.size},
        'steps_per_dispatch': run.programs.dispatch,
        'shares': run.programs.shares,
        'accumulate': run.programs.accumulate,
        'kernel_fallback': run.programs.kernel_fallback or None,
        'selection': {
            'split': f'validation: {share:g}% of train, stratified, the same for every seed',
            'rule': config.checkpoint.select,
            'step': track.selected(),
        },
        'steps': steps,
        'images_seen': images,
        'rows': track.log.mark()._asdict(),
        'compilation_cache': None if run.begun.cache is None else run.begun.cache._asdict(),
        'first_step_seconds': run.begun.seconds,
        'compile_seconds': progress.compile_seconds,
        'train_seconds': progress.train_seconds,
        'images_per_second': images / progress.train_seconds,
        'host_gap_share': progress.idle_seconds / progress.train_seconds,
        **_achieved(run, progress),
    }


def _achieved(run: Run, progress: Progress) -> dict[str, float | None]:
    """What the devices did while they trained, for all members together; mfu of as many as there were on average."""
    seconds, kind = progress.train_seconds, run.programs.where.devices[0].device_kind
    flops, devices = float(run.size * run.programs.costs.train_step_flops), progress.device_seconds / seconds
    achieved = utilisation(flops, run.steps, seconds, kind, devices, run.config.train.compute_dtype)
    # Fewer than one: a part of the steps is of older code, which did not count devices.
    return achieved if devices >= 1 else achieved | {'mfu': None}
