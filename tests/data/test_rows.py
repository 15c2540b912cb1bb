import ctypes
import errno
import mmap
import os
import time

import numpy as np
import pytest

import data
from configs import base
from data.rows import ASKED_BYTES, Rows
from data.spec import Split

PAGES = 8  # of an image


class Watched(np.memmap):
    """A memory-mapped array of whose images some are copied only once all their pages are in memory by themselves."""

    def __getitem__(self, index):
        if isinstance(index, np.ndarray):
            end = time.monotonic() + 10
            while not in_memory(self)[index].all() and time.monotonic() < end:
                time.sleep(0.01)
            self.pages_when_copied = in_memory(self)
            self.all_were_there = getattr(self, 'all_were_there', True) and self.pages_when_copied[index].all()
        return super().__getitem__(index)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, PAGES, mmap.PAGESIZE, 1), np.uint8)


@pytest.fixture
def mapped(images, tmp_path):
    """The images in a memory-mapped file, of which no page is in memory."""
    if not hasattr(os, 'posix_fadvise'):
        pytest.skip('this system drops no pages of a file')
    path = tmp_path / 'images.npy'
    np.save(path, images)
    mapped = np.load(path, mmap_mode='r')
    with path.open('r+b') as file:
        os.fsync(file.fileno())  # what is not yet written cannot be dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(mapped).any():
        pytest.skip('the file system keeps its files in memory')
    return mapped


def in_memory(mapped):
    """Of every image, whether each page is in memory that its bytes begin in."""
    held = np.zeros(mapped.nbytes // mmap.PAGESIZE, np.uint8)
    start = mapped.ctypes.data - mapped.ctypes.data % mmap.PAGESIZE
    arguments = ctypes.c_void_p(start), ctypes.c_size_t(mapped.nbytes), ctypes.c_void_p(held.ctypes.data)
    assert not ctypes.CDLL(None).mincore(*arguments)
    return held.reshape(len(mapped), PAGES) & 1 == 1


@pytest.mark.parametrize('index', [np.array([2, 1]), slice(1, 3), slice(None)], ids=str)
def test_rows_read_like_the_array_of_them_wherever_it_lies(images, mapped, index):
    rows = np.array([3, 39, 0, 17])
    for source in (mapped, images, mapped[:], images[:]):
        some = Rows(source, rows)
        assert (some.shape, some.dtype, some.nbytes, len(some)) == (
            (4, *images.shape[1:]),
            np.uint8,
            4 * images[0].nbytes,
            4,
        )
        np.testing.assert_array_equal(some[index], images[rows][index])


def test_a_batch_is_asked_for_before_it_is_copied_and_nothing_else_is(mapped):
    """Else every page is a request of its own, and the next one waits for it."""
    mapped.__class__ = Watched
    Rows(mapped, np.arange(40))[np.array([30, 5, 39])]
    asked = mapped.pages_when_copied
    assert asked[[30, 5, 39]].all()
    others = np.delete(asked, [30, 5, 39, 31, 6], axis=0)  # an image ends in the page in which the next one begins
    assert not others.any()


def test_images_that_memory_has_room_for_are_asked_for_before_they_are_copied_too(images, mapped, monkeypatch):
    mapped.__class__ = Watched
    labels = np.arange(40, dtype=np.int32) % 4
    read = Split(mapped, labels), Split(mapped, labels)
    monkeypatch.setattr(data.digits, 'read', lambda config: read)
    dataset = data.load(base.get_config().data)
    assert mapped.all_were_there
    found = np.concatenate([dataset.train.images, dataset.validation.images])
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(images, axis=0))


class Refusing(mmap.mmap):
    """A mapping of a file system that takes no advice."""

    def madvise(self, advice, start, length):
        raise OSError(errno.EINVAL, 'Invalid argument')


def test_rows_are_read_where_no_advice_is_taken(images, tmp_path, monkeypatch):
    np.save(tmp_path / 'images.npy', images)
    monkeypatch.setattr(mmap, 'mmap', Refusing)
    mapped = np.load(tmp_path / 'images.npy', mmap_mode='r')
    np.testing.assert_array_equal(Rows(mapped, np.arange(40))[np.array([7, 3])], images[[7, 3]])


class Requested(mmap.mmap):
    """A mapping that keeps what is asked of it."""

    def madvise(self, advice, start, length):
        assert advice == mmap.MADV_WILLNEED
        assert start % mmap.PAGESIZE == 0
        self.requests = [*getattr(self, 'requests', []), (start, start + length)]
        super().madvise(advice, start, length)


@pytest.mark.parametrize('size', [700, mmap.PAGESIZE, 3 * mmap.PAGESIZE // 2, ASKED_BYTES + 5])
@pytest.mark.parametrize('rows', [[], [7], [0, 1, 2, 3, 20, 21], [21, 20, 3, 4, 4, 0], range(40)], ids=str)
def test_the_pages_of_some_rows_are_asked_for_and_no_others_in_few_requests_none_too_long(
    tmp_path, monkeypatch, rows, size
):
    np.save(tmp_path / 'images.npy', np.zeros((40, size, 1, 1), np.uint8))
    monkeypatch.setattr(mmap, 'mmap', Requested)
    mapped = np.load(tmp_path / 'images.npy', mmap_mode='r')
    Rows(mapped, np.arange(40))[np.array(rows, np.int32)]

    def pages(start, end):
        return set(range(start // mmap.PAGESIZE, (end - 1) // mmap.PAGESIZE + 1))

    requests = getattr(mapped.base, 'requests', [])
    wanted = set().union(*(pages(mapped.offset + row * size, mapped.offset + (row + 1) * size) for row in rows))
    assert set().union(*(pages(*request) for request in requests)) == wanted
    assert max([end - start for start, end in requests], default=0) <= ASKED_BYTES
    stretches = sum(after != before + 1 for before, after in zip([-2, *rows], rows, strict=False))
    assert len(requests) <= stretches + len(rows) * size / ASKED_BYTES + 1
