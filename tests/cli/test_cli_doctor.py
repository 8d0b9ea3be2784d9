"""What `semiovs doctor` says of cores, threads, shared memory, the disk of the current folder, and clocks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from semiovs.cli import doctor
from semiovs.cli.app import main
from semiovs.data import machine_limits
from semiovs.data.machine_limits import find_cpu_limit


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def diagnose(check: Any) -> dict[str, doctor.Diagnosis]:
    return {found.name: found for found in doctor._run_check(check)}


def test_all_of_it_is_in_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["findings"]}
    assert {"cores", "threads", "memory", "disk", "clock", "cache"} <= found.keys()
    assert found["clock"]["status"] == "ok"
    assert ("shared memory" in found) == Path("/dev/shm").is_dir()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "cores", "limit", "status", "advice"),
    [
        (None, 4, None, "ok", ""),
        ("4", 4, None, "ok", ""),
        (None, 16, 2.0, "warn", "set OMP_NUM_THREADS=2"),
        ("2", 16, 2.5, "ok", ""),
        (None, 4, 0.5, "warn", "set OMP_NUM_THREADS=1"),
        ("8", 4, None, "warn", "set OMP_NUM_THREADS=4"),
        ("1", 4, None, "warn", "unset OMP_NUM_THREADS, unless several processes share the machine"),
        ("many", 4, None, "ok", ""),
    ],
)
def test_threads(asked: str | None, cores: int, limit: float | None, status: str, advice: str) -> None:
    found = doctor._judge_threads(asked, cores, limit)
    assert (found.status, found.advice) == (status, advice)


@pytest.mark.parametrize(("free", "status"), [(64 * 2**20, "warn"), (8 * 2**30, "ok")])
def test_shared_memory(monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    there = SimpleNamespace(f_blocks=2 * free // 4096, f_bavail=free // 4096, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: there)
    found = diagnose(doctor._shared_memory)["shared memory"]
    assert found.status == status
    assert f"{free / 2**30:.2f} of {free / 2**29:.2f} GiB free" in found.value
    assert ("--shm-size" in found.advice) == (status == "warn")
    monkeypatch.setattr(machine_limits, "SHARED", Path("/nowhere"))
    monkeypatch.setattr(os, "statvfs", lambda path: (_ for _ in ()).throw(FileNotFoundError(path)))
    assert diagnose(doctor._shared_memory) == {}


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30))
    found = diagnose(doctor._folder)
    assert (found["disk"].status, found["clock"].status) == ("warn", "ok")
    assert found["disk"].value == "1.0 GiB free in the current folder"


@pytest.mark.parametrize(("ahead", "told"), [(90, "90 s ahead of"), (-3, "3 s behind"), (1, ""), (-1, "")])
def test_clocks(monkeypatch: pytest.MonkeyPatch, folder: Path, ahead: float, told: str) -> None:
    """The file system is ahead of this machine, whose clock is set back for the test."""
    now = doctor.time.time
    monkeypatch.setattr(doctor.time, "time", lambda: now() - ahead)
    found = diagnose(doctor._folder)["clock"]
    assert found.status == ("warn" if told else "ok")
    assert told in found.value
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", fail)
    found = diagnose(doctor._folder)["clock"]
    assert (found.status, found.value) == ("warn", "the current folder cannot be written: Permission denied")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ("3:cpu:/elsewhere\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("", {}, None),
    ],
)
def test_what_a_container_is_given(tmp_path: Path, own: str, files: dict[str, str], limit: float | None) -> None:
    write(tmp_path / "own", own)
    for name, text in files.items():
        write(tmp_path / "groups" / name, text)
    assert find_cpu_limit(tmp_path / "groups", tmp_path / "own") == limit
    assert find_cpu_limit(tmp_path / "groups", tmp_path / "absent") is None
