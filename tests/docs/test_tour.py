"""The tour runs from its first cell to its last, as it stands."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from experiment.environment import ROOT

TOUR = ROOT / 'docs' / 'tour.ipynb'


def test_the_tour(tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    tour = nbformat.read(TOUR, as_version=4)
    NotebookClient(
        tour, timeout=300, kernel_name='python3', resources={'metadata': {'path': str(ROOT / 'docs')}}
    ).execute()
    texts = [output.get('text', '') for cell in tour.cells if cell.cell_type == 'code' for output in cell.outputs]
    assert any('model.num_heads=5 must divide' in text for text in texts)
    images = [output for cell in tour.cells if cell.cell_type == 'code' for output in cell.outputs
              if 'image/png' in output.get('data', {})]  # fmt: skip
    assert len(images) == 3
    page = Path(texts[-1].split()[0])
    assert page.name == 'report.html'
    assert page.stat().st_size > 10_000
    assert os.fspath(tmp_path) in os.fspath(page)


def test_it_is_kept_without_outputs():
    cells = [cell for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == 'code']
    assert 10 <= len(cells) <= 14
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
