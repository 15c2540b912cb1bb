"""Checkpoints of a run, by Orbax: the latest few, and the best on validation."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from training.step import State


class Spent(NamedTuple):
    """Seconds of training, and in how many of them the device had nothing to do, at most."""

    seconds: float = 0.0
    idle: float = 0.0


class Progress(NamedTuple):
    """What a run knows of itself beside its arrays; it resumes with it, so that times and selection go on."""

    compile_seconds: float
    train_seconds: float = 0.0  # steps alone: no compilation, validation or saving
    idle_seconds: float = 0.0  # of these, with nothing for the device to do, at most
    validation: dict[str, float] | None = None  # accuracy and loss at the latest checkpoint
    best: dict[str, float] | None = None  # those of the best checkpoint
    best_step: int = 0

    def after(self, step: int, spent: Spent, scores: dict[str, Any]) -> 'Progress':
        """With more training behind it, and the validation `scores` of `step`."""
        validation = {'accuracy': scores['accuracy'], 'loss': scores['loss']}
        improved = self.best is None or _merit(validation) > _merit(self.best)
        return self._replace(
            train_seconds=self.train_seconds + spent.seconds,
            idle_seconds=self.idle_seconds + spent.idle,
            validation=validation,
            best=validation if improved else self.best,
            best_step=step if improved else self.best_step,
        )

    def selected(self, rule: str, latest: int) -> int:
        """The step whose params count, by `checkpoint.select`, when `latest` is the newest."""
        return self.best_step if rule == 'best' else latest


def _merit(validation: dict[str, float]) -> tuple[float, float]:
    """Selection's rule: accuracy on validation, then its loss; the earlier of equals."""
    return validation['accuracy'], -validation['loss']


def open_checkpoints(folder: Path, keep: int) -> ocp.CheckpointManager:
    """The checkpoints under `folder`/checkpoints, made if need be; saves run in the background."""
    policy = checkpoint_managers.preservation_policy
    # best_fn makes Orbax write the metrics down, so that the policy can rank what an earlier process saved.
    options = ocp.CheckpointManagerOptions(
        best_fn=_rank,
        preservation_policy=policy.AnyPreservationPolicy(
            [policy.LatestN(max(1, keep)), policy.BestN(get_metric_fn=_rank, n=1)]
        ),
    )
    return ocp.CheckpointManager(folder.absolute() / 'checkpoints', options=options)


def _rank(metrics: dict[str, float]) -> tuple[float, float, float]:
    return *_merit(metrics), -float(metrics['step'])  # the earlier of equals, as in Progress.after


def save(manager: ocp.CheckpointManager, step: int, state: State, progress: Progress) -> None:
    """Starts to save; `manager.wait_until_finished()` raises what went wrong."""
    manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress._asdict())),
        metrics={**progress.validation, 'step': step},
    )


def restore(manager: ocp.CheckpointManager, step: int, like: State) -> tuple[State, Progress]:
    """The state and the progress at a saved step; `like` has the shapes and types (arrays or abstract)."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), like)
    saved = manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
    )
    return State(*saved['state']), Progress(**saved['progress'])


def latest_step(folder: Path) -> int:
    """The newest checkpoint under `folder`/checkpoints; 0 if there is none."""
    names = (path.name for path in (folder / 'checkpoints').glob('*'))
    return max((int(name) for name in names if name.isdigit()), default=0)
