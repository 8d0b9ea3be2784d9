"""What ranks tell `semiovs.torchrun`, and what it makes of that; its processes are small ones of Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from semiovs.launch_notes import VARIABLE, LaunchNotes
from semiovs.torchrun import Launch

#: A rank without torch: it notes itself, waits for a signal, and ends with 75.
RANK = """
import signal, sys, time
from semiovs.launch_notes import LaunchNotes
notes = LaunchNotes.find()
def stop(number, frame):
    notes.end(75)
    sys.exit(75)
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(number, stop)
notes.begin()
if notes.is_stopping():
    stop(0, None)
time.sleep(60)
"""
#: A launcher that begins such ranks for ever, as torchrun does with restarts.
AGENT = "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-c', sys.argv[1]])"


def test_the_first_code_of_the_newest_attempt_counts(tmp_path):
    notes = LaunchNotes(tmp_path)
    assert notes.code() is None
    for attempt, rank, code in ((0, 1, 1), (1, 0, 0), (1, 1, 3), (1, 0, 75)):
        notes.end(code, {"TORCHELASTIC_RESTART_COUNT": str(attempt), "LOCAL_RANK": str(rank)})
    assert notes.code() == 3
    assert {path.name for path in tmp_path.iterdir()} == {"code-0000", "code-0001"}


def test_ranks_that_live_are_listed(tmp_path):
    notes = LaunchNotes(tmp_path)
    notes.begin({"LOCAL_RANK": "1"})
    assert notes.processes() == [os.getpid()]
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        (tmp_path / "rank-0").write_text(str(ended.pid))
        end = time.monotonic() + 30
        while ended.pid in notes.processes():  # until it has ended, though nobody has asked for its code
            assert time.monotonic() < end
            time.sleep(0.01)
    notes.end(0, {"LOCAL_RANK": "1"})
    assert notes.processes() == []


def test_a_launch_that_is_over_is_one_that_is_to_end(tmp_path):
    assert LaunchNotes.find({}) is None
    notes = LaunchNotes.find({VARIABLE: str(tmp_path / "gone")})
    assert notes is not None
    assert notes.is_stopping()
    notes.begin()
    notes.end(3)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=lambda value: str(value)
)
def test_a_signal_reaches_the_rank_and_it_is_not_begun_again(tmp_path, number, code):
    launch = Launch([sys.executable, "-c", AGENT, RANK], tmp_path)
    begun_within(LaunchNotes(tmp_path), 30)
    launch.take(number)
    assert launch.wait() == code
    assert (tmp_path / "stop").exists()
    assert LaunchNotes(tmp_path).processes() == []


def test_a_rank_outlives_a_launcher_that_was_killed_until_it_has_saved(tmp_path):
    launch = Launch([sys.executable, "-c", AGENT, RANK], tmp_path)
    begun_within(LaunchNotes(tmp_path), 30)
    launch._process.kill()
    assert launch.wait() == 75
    assert LaunchNotes(tmp_path).code() == 75


@pytest.mark.parametrize(("code", "given"), [(0, 0), (2, 2), (1, 1), (-9, 137)])
def test_without_a_signal_the_code_is_that_of_the_ranks_or_of_torchrun(tmp_path, code, given):
    ends = f"import os; os.kill(os.getpid(), {-code})" if code < 0 else f"import sys; sys.exit({min(code, 1)})"
    if code == 2:
        LaunchNotes(tmp_path).end(2)
    assert Launch([sys.executable, "-c", ends], tmp_path).wait() == given


def begun_within(notes: LaunchNotes, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not notes.processes():
        assert time.monotonic() < end
        time.sleep(0.01)
