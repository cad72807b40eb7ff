"""How many threads are used where nobody says it."""

import os

import pytest

from frugalseg.processor import asked_threads, usable_cores, usable_threads


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), ("3,2", 3), (" 2 ", 2)])
def test_the_usual_variable_is_honoured(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert usable_threads() == threads


@pytest.mark.parametrize("asked", ["", "0", "many", "-1"])
def test_nonsense_means_all_cores(monkeypatch, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert usable_threads() == usable_cores() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_a_process_bound_to_one_core_uses_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_what_was_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert asked_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert asked_threads() == 0, "the engines choose"
