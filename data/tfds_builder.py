"""Runs TFDS's own builder, in the environment that has TensorFlow. `data.prepare` starts this file by its path.

    python tfds_builder.py NAME --data_dir=DIR --report=FILE [--manual_dir=DIR]

FILE gets the outcome as JSON: `{"ok": {"folder", "splits"}}`, or `{"error": {"kind", "message"}}` with the kind
'name', 'download', 'manual', 'checksum' or 'other'. It imports nothing of patchwise, which is not installed there.
"""

import argparse
import json
import sys
import traceback
from pathlib import Path

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

# TFDS's ten retries double their wait every time: without a network it would say so after minutes.
downloader.MAX_RETRIES = 5


def prepare(name: str, data_dir: str, manual_dir: str | None) -> dict:
    """Downloads, checks and writes a dataset as ArrayRecord, the format that is read without TensorFlow."""
    builder = tfds.builder(name, data_dir=data_dir, file_format='array_record')
    # Google's bucket holds other formats than ours, and asking it costs a time-out where it cannot be reached.
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    splits = {split: info.num_examples for split, info in builder.info.splits.items()}
    return {'folder': str(builder.data_path), 'splits': splits}


def kind_of(error: BaseException, manual_dir: str | None) -> str:
    """Whose fault it was, as far as TFDS tells: it wraps some errors and raises bare AssertionErrors for others."""
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    text = '\n'.join(str(link) for link in chain)
    if any(isinstance(link, tfds.download.DownloadError | requests.RequestException) for link in chain):
        return 'download'
    if 'has wrong checksum' in text:
        return 'checksum'
    if 'manual_dir' in text or 'anual directory' in text or 'manually' in text or (manual_dir and manual_dir in text):
        return 'manual'
    if any(isinstance(link, tfds.core.registered.DatasetNotFoundError) for link in chain):
        return 'name'
    if ('BuilderConfig' in text and 'not found' in text) or 'cannot be loaded at version' in text:
        return 'name'
    return 'other'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name')
    parser.add_argument('--data_dir', required=True)
    parser.add_argument('--manual_dir')
    parser.add_argument('--report', required=True, type=Path)
    args = parser.parse_args()
    try:
        outcome, status = {'ok': prepare(args.name, args.data_dir, args.manual_dir)}, 0
    except Exception as error:
        traceback.print_exc()
        outcome, status = {'error': {'kind': kind_of(error, args.manual_dir), 'message': str(error)}}, 1
    args.report.write_text(json.dumps(outcome))
    return status


if __name__ == '__main__':
    sys.exit(main())
