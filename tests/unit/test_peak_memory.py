"""Bytes on every system, whatever unit it counts in."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from semiovs import peak_memory

resource = pytest.importorskip("resource")


def test_it_is_what_a_python_can_hold():
    assert 2**23 < peak_memory.find_peak_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(("system", "counted"), [("darwin", 3 * 2**30), ("linux", 3 * 2**20)])
def test_the_unit_of_the_system_is_known(system, counted, tmp_path, monkeypatch):
    monkeypatch.setattr(peak_memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(peak_memory.sys, "platform", system)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=counted))
    assert peak_memory.find_peak_memory() == 3 * 2**30
