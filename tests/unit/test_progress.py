"""Lines about long work, where stderr is no terminal."""

import pytest

from semiovs import progress


@pytest.mark.parametrize(
    ("done", "line"),
    [
        (40, "training: 40 of 60 steps, 2.0 a second, 10 s left"),
        (4, "training: 4 of 60 steps, 5 s each, 5 min left"),  # and not "0.2 a second"
        (0, "training: 0 of 60 steps"),
    ],
)
def test_slow_work_is_told_in_seconds_each(monkeypatch, done, line):
    now, said = [0.0], list[str]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with progress.show_progress("training", unit="steps", say=said.append) as show:
        show(0, 60)
        now[0] = 20.0
        show(done, 60)
    assert said == [line]
