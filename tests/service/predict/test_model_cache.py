"""Predictors in memory: bounded, loaded once, and never half."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import Unavailable
from service.predict import cache as module
from service.predict.cache import ModelCache
from tests.builders import on_sqlite

pytestmark = on_sqlite


def test_the_least_recently_used_goes_first(store, make_version, monkeypatch):
    loads = []
    real = module.load_predictor
    monkeypatch.setattr(module, "load_predictor", lambda *a: loads.append(a[1].id) or real(*a))
    one, two, three = (make_version(seed=seed) for seed in (1, 2, 3))
    cache = ModelCache(store, max_models=2)
    for version in (one, two, one, three, one, two):
        cache.get(version)
    assert loads == [one.id, two.id, three.id, two.id]
    assert len(cache) == 2


def test_bytes_are_bounded_too_and_counted_right(store, make_version):
    versions = [make_version(seed=seed) for seed in range(5)]
    each = versions[0].size + module.OVERHEAD_BYTES
    cache = ModelCache(store, max_bytes=3 * each)
    for version in versions:
        cache.get(version)
    assert (len(cache), cache.bytes) == (3, 3 * each)
    cache.forget([version.id for version in versions])
    assert (len(cache), cache.bytes) == (0, 0)


def test_simultaneous_requests_load_a_version_once(store, make_version, monkeypatch):
    loads, real, gate = [], module.load_predictor, threading.Event()

    def slow(*arguments):
        loads.append(1)
        gate.wait(5)
        return real(*arguments)

    monkeypatch.setattr(module, "load_predictor", slow)
    version, cache = make_version(), ModelCache(store)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(cache.get, version) for _ in range(8)]
        gate.set()
    assert len({id(each.result()) for each in waiting}) == 1
    assert loads == [1]


def test_a_version_that_failed_to_load_is_tried_again(store, make_version):
    version, cache = make_version(), ModelCache(store)
    data = store.read(None, version.sha256)
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"x")):
        damage(store.path(None, version.sha256))
        with pytest.raises(Unavailable, match="model_unavailable"):
            cache.get(version)
        store.path(None, version.sha256).write_bytes(data)
    assert cache.get(version) is cache.get(version)
