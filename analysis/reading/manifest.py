"""What sweep.json says of a sweep's runs. It may be foreign or hostile: what is wrong with it is named in a warning."""

from typing import Any, NamedTuple

from analysis.reading.records import seed_of
from experiment.sweeping.figure import Figure, Place, check_figure, check_place
from files.reading import Damaged
from files.text import clean, shown


class Entry(NamedTuple):
    """A run that the list names."""

    run: str
    arm: str
    seed: int | None
    place: Place | None
    tuned: dict[str, Any]  # fields that its arm is tuned over, and their values in this run
    against: tuple[str, ...]  # labels of the arms that its arm is compared with


def read_figure(listing: dict, warnings: list[str]) -> Figure | None:
    """The figure that the list asks for; None where there is none, or nonsense, of which `warnings` tells."""
    if listing.get('figure') is None:
        return None
    try:
        return check_figure(listing['figure'])
    except ValueError as error:
        warnings.append(f'sweep.json: figure {error}; none is drawn')
        return None


def read_entries(listing: dict, figure: Figure | None, warnings: list[str]) -> list[Entry]:
    """The runs of the list, each once, in order; `warnings` tells what was wrong with some.

    Raises Damaged when it lists none that can be used.
    """
    rows = listing.get('runs')
    if not isinstance(rows, list):
        raise Damaged('has no list of runs')
    entries = {}
    for position, row in enumerate(rows):
        row = row if isinstance(row, dict) else {}
        name, arm = row.get('run'), row.get('arm')
        if not (isinstance(name, str) and _is_folder_name(name) and isinstance(arm, str)):
            warnings.append(f'sweep.json: entry {position} is ignored: run={shown(name)}, arm={shown(arm)}')
        elif name in entries:
            # Counted twice, a run would pass for two seeds.
            warnings.append(f'sweep.json: run {clean(name)} is listed twice and counted once')
        else:
            place, tuned, against = _place(row, figure, warnings), _tuned(row, warnings), _against(row, warnings)
            entries[name] = Entry(name, clean(arm), seed_of(row.get('overrides')), place, tuned, against)
    if not entries:
        raise Damaged('lists no run that can be used')
    return list(entries.values())


def _place(row: dict, figure: Figure | None, warnings: list[str]) -> Place | None:
    if figure is None:
        return None
    try:
        return check_place(row.get('curve'), row.get('x'), figure.scale)
    except ValueError as error:
        warnings.append(f'sweep.json: run {clean(row["run"])} {error}; the figure is without it')
        return None


def _tuned(row: dict, warnings: list[str]) -> dict[str, Any]:
    names, overrides = row.get('tuned', []), row.get('overrides')
    overrides = overrides if isinstance(overrides, dict) else {}
    if not isinstance(names, list) or not all(isinstance(name, str) and name in overrides for name in names):
        warnings.append(f'sweep.json: run {clean(row["run"])} has tuned={shown(names)}, which its overrides lack')
        return {}
    values = {name: overrides[name] for name in names}
    return {
        clean(name): clean(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is None or isinstance(value, str | int | float)
    }


def _against(row: dict, warnings: list[str]) -> tuple[str, ...]:
    labels = row.get('against', [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        warnings.append(f'sweep.json: run {clean(row["run"])} has against={shown(labels)}, which is no list of arms')
        return ()
    return tuple(map(clean, labels))


def _is_folder_name(name: str) -> bool:
    """Whether a name from a file is that of a folder right here: no way up, out or into hidden ones."""
    return bool(name) and name == clean(name) and not name.startswith('.') and not set(name) & set('/\\:')
