"""A sweep of seconds with its report, and a browser to look at it."""

import os
import shutil
from pathlib import Path

import pytest

from analysis.page import write
from analysis.reading.runs import read
from configs import base
from experiment.run import execute
from experiment.sweeping import sweeps
from experiment.sweeping.manifest import open_sweep
from tests.analysis.page.hand_built import OFFSETS, look_at

FIELDS = {
    'data.name': 'synthetic',
    'data.synthetic.image_size': 8,
    'data.synthetic.channels': 1,
    'data.synthetic.train_examples': 64,
    'data.synthetic.test_examples': 24,
    'model.patch_size': 2,
    'model.embed_dim': 8,
    'model.depth': 2,
    'model.num_heads': 2,
    'train.steps': 6,
    'train.batch_size': 8,
    'train.eval_batch_size': 24,
    'checkpoint.count': 2,
    'log.every': 2,
    'log.tensorboard': False,
}
ARMS = {
    'learned': {'model.positions.name': 'learned_1d'},
    'one head': {'model.positions.name': 'learned_1d', 'model.num_heads': 1},
    'bias': {'model.positions.name': 'relative_bias'},
    'hand-built': {'model.positions.name': 'gaussian', 'model.positions.content': False, 'model.depth': 1},
    'conv <script>alert(1)</script>': {'model.mixer': 'conv', 'model.positions.name': 'none'},
}


@pytest.fixture(scope='session')
def swept(tmp_path_factory):
    """The folder of a sweep, its report written."""
    workdir = tmp_path_factory.mktemp('report') / 'sweep'
    config = base.get_config()
    config.update_from_flattened_dict(FIELDS)
    rows = [{'arm': arm, 'seed': seed} | fields for arm, fields in ARMS.items() for seed in range(2)]
    runs = sweeps.plan(config, rows)
    open_sweep(workdir, 'configs/base.py', runs)
    for run in runs:
        execute(run.config, workdir / run.name, lambda row, steps: None)
        if run.arm == 'hand-built':
            look_at(workdir / run.name, run.config, OFFSETS)
    write.write(workdir, read(workdir))
    return workdir


FLAGS = (
    '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
    '--disable-component-update --disable-sync'
)


@pytest.fixture(scope='session')
def browser():
    """Debian's Chromium, headless."""
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if path is None:
        pytest.skip('no Chromium here: apt-get install chromium')
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, swept):
    """open(**how to) -> the report in a fresh page; fails where it logs an error or asks for anything but itself."""
    contexts, troubles = [], []
    address = (swept / 'report.html').as_uri()

    def open_page(path: str = address, **options):
        context = browser.new_context(**({'viewport': {'width': 1280, 'height': 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.on('pageerror', lambda error: troubles.append(f'error: {error}'))
        page.on('console', lambda message: troubles.append(f'{message.type}: {message.text}'))
        page.on('request', lambda request: asked(request.url))
        page.goto(path)
        page.wait_for_selector('#explorer-app:not([hidden]), .message')
        return page

    def asked(url: str) -> None:
        if not url.startswith(('data:', 'blob:')) and url.split('#')[0] != address:
            troubles.append(f'request: {url}')

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope='session')
def artefacts(tmp_path_factory):
    """Where screenshots stay: $TEST_ARTEFACTS, else below pytest's own folder."""
    named = os.environ.get('TEST_ARTEFACTS')
    folder = Path(named) if named else tmp_path_factory.mktemp('artefacts')
    folder.mkdir(parents=True, exist_ok=True)
    return folder
