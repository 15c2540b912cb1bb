import io

from rich.console import Console

from experiment import display


def row(step, **more):
    return {'step': step, 'train_loss': 0.5, 'train_accuracy': 0.25, 'images_per_second': 1234.5} | more


def test_plain_lines_say_where_a_sweep_stands(capsys, monkeypatch):
    monkeypatch.setattr(display, 'SECONDS_BETWEEN_LINES', 0.0)
    with display.Display(2) as shown:
        slot = shown.of(0)
        slot.begin('an arm, seed 0')
        slot.row(row(50), 100)
        slot.row({'step': 100, 'validation_accuracy': 0.75, 'validation_loss': 1.0}, 100)
        slot.row(row(100), 100)
        slot.end()
        slot.begin('an arm, seed 1')
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == 'ETA -:-- · 0/2 runs · compiling · 1 running · an arm, seed 0'
    assert (
        '0/2 runs · loss 0.500 · accuracy 25.0% · 1,234 images/s · 1 running · step 50/100 · an arm, seed 0' in lines[1]
    )
    assert 'step 100/100 · validation 75.0% at 100' in lines[2]
    assert '1/2 runs · compiling · 1 running · best 75.0% · an arm, seed 1' in lines[3]


def test_numbers_fit_a_narrow_terminal():
    """The label gives way to them."""
    shown = display.Display(30)
    shown._terminal = True
    shown.of(0).begin('attention, 4 heads, sinusoidal_2d, seed 0')
    shown.of(0).row(row(240, images_per_second=23456.7), 486)
    console = Console(width=80, file=io.StringIO(), force_terminal=True, no_color=True)
    console.print(shown._bar.get_renderable())
    line = console.file.getvalue().splitlines()[0]
    for part in ('ETA', '0/30 runs', 'loss 0.500', 'accuracy 25.0%', '23,457 images/s'):
        assert part in line, line


def test_few_lines_when_rows_come_fast(capsys):
    with display.Display() as shown:
        slot = shown.of(0)
        slot.begin('')
        for step in range(1, 1001):
            slot.row(row(step), 1000)
    assert len(capsys.readouterr().err.splitlines()) <= 2  # the last step's at least


def test_eta_is_what_is_left_at_the_pace_so_far(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(display.time, 'monotonic', lambda: clock[0])
    shown = display.Display(4)
    assert shown._eta(0.0) == '-:--'
    assert shown._eta(0.5) == '-:--'  # a resumed run's first row: no pace yet
    clock[0] = 160.0
    assert shown._eta(1.0) == '6:00'
    assert shown._eta(0.51) == '5:49:00'
    assert shown._eta(4.0) == '0:00'


def test_eta_counts_steps_where_runs_are_not_equally_long(capsys, monkeypatch):
    """Two runs of 10 steps and one of 100: after the short ones a sixth of the way is done, not two thirds."""
    monkeypatch.setattr(display, 'SECONDS_BETWEEN_LINES', 0.0)
    clock = [0.0]
    monkeypatch.setattr(display.time, 'monotonic', lambda: clock[0])
    with display.Display(3, 120) as shown:
        for whom in (1, 2):
            slot = shown.of(whom)
            slot.begin('short', 1, 10)
            slot.row(row(5), 10)  # from here on the pace is measured: 5 steps
            clock[0] += 10
            slot.row(row(10), 10)
            slot.end()
        slot.begin('long', 1, 100)
        assert 'ETA 2:13 · 2/3 runs' in capsys.readouterr().err.splitlines()[-1]  # 15 steps in 20 s, and 100 to go
        clock[0] += 20
        slot.row(row(50), 100)
    assert 'ETA 0:31 · 2/3 runs' in capsys.readouterr().err.splitlines()[-1]


def test_nothing_is_left_when_all_have_ended_whatever_they_came_to(capsys, monkeypatch):
    """One fails before its first row, one trains, and the process of one has died."""
    monkeypatch.setattr(display, 'SECONDS_BETWEEN_LINES', 0.0)
    clock = [0.0]
    monkeypatch.setattr(display.time, 'monotonic', lambda: clock[0])
    with display.Display(3, 60) as shown:
        shown.of(1).begin('fails', 1, 30)
        shown.of(1).end()
        shown.of(1).begin('trains', 1, 20)
        for step in (5, 20):
            shown.of(1).row(row(step), 20)
            clock[0] += 10
        shown.of(1).end()
        shown.of(0).end(1, 10)
    assert capsys.readouterr().err.splitlines()[-1].startswith('ETA 0:00 · 3/3 runs')


def test_processes_share_one_line_and_populations_count_all_their_runs(capsys, monkeypatch):
    monkeypatch.setattr(display, 'SECONDS_BETWEEN_LINES', 0.0)
    clock = [0.0]
    monkeypatch.setattr(display.time, 'monotonic', lambda: clock[0])
    with display.Display(8) as shown:
        one, other = shown.of(11), shown.of(12)
        one.begin('a population', 3)
        other.begin('a run', 1)
        for seconds, slot in ((10, one), (20, other), (30, one)):
            clock[0] = seconds
            slot.row(row(50 if seconds < 30 else 100), 100)
        one.end(3)
        one.begin('the rest', 4)
    lines = capsys.readouterr().err.splitlines()
    assert '3,704 images/s' in lines[2]  # what all members see together
    assert (
        lines[-1] == 'ETA 0:45 · 3/8 runs · compiling · 5 running · the rest'
    )  # 3.5 runs' way done, 2 of them in 20 s


def test_what_fails_is_counted_and_the_best_so_far_is_shown(capsys, monkeypatch):
    monkeypatch.setattr(display, 'SECONDS_BETWEEN_LINES', 0.0)
    with display.Display(3) as shown:
        one, other = shown.of(1), shown.of(2)
        one.begin('good')
        other.begin('bad')
        one.row({'step': 10, 'validation_accuracy': 0.9, 'validation_loss': 1.0}, 20)
        one.row({'step': 20, 'validation_accuracy': 0.8, 'validation_loss': 1.0}, 20)
        other.end()
        other.note('bad: failed: ValueError')
        one.end()
        other.begin('last')
    assert capsys.readouterr().err.splitlines()[-1] == (
        'ETA -:-- · 2/3 runs, 1 failed · compiling · 1 running · best 90.0% · last'
    )
