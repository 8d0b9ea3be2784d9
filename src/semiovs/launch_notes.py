"""What the ranks of one launch and `python -m semiovs.torchrun` tell each other, by files in a temporary folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

#: The folder, set for every rank by `semiovs.torchrun`.
VARIABLE = "SEMIOVS_LAUNCH"


class LaunchNotes:
    """Processes of the ranks on this machine, whether the launch is to end, and with which exit codes ranks ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """The notes of the launch that this process is a rank of; None without `semiovs.torchrun`."""
        folder = environment.get(VARIABLE)
        return cls(Path(folder)) if folder else None

    def begin(self, environment: Mapping[str, str] = os.environ) -> None:
        """Note this process as a rank of the launch, unless that is over."""
        with suppress(FileNotFoundError):
            self._write(f"rank-{environment.get('LOCAL_RANK', '0')}", os.getpid())

    def end(self, code: int, environment: Mapping[str, str] = os.environ) -> None:
        """Note its exit code; of each attempt the first that is not 0 counts, as it is why the others end."""
        if code and self._folder.is_dir():
            attempt = int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
            temporary = self._write(f"code-{attempt:04d}.{os.getpid()}", code)
            with suppress(FileExistsError):
                os.link(temporary, self._folder / f"code-{attempt:04d}")
            temporary.unlink()
        (self._folder / f"rank-{environment.get('LOCAL_RANK', '0')}").unlink(missing_ok=True)

    def stop(self) -> None:
        """Let ranks that begin from now on end at once: a launcher that begins them again does not know better."""
        self._write("stop", 1)

    def is_stopping(self) -> bool:
        """Whether the launch is to end, or is over."""
        return (self._folder / "stop").exists() or not self._folder.is_dir()

    def processes(self) -> list[int]:
        """Numbers of the ranks' processes on this machine that live."""
        found = (int(path.read_text("ascii")) for path in sorted(self._folder.glob("rank-*")))
        return [process for process in found if _is_alive(process)]

    def code(self) -> int | None:
        """Exit code of the newest attempt, if a rank noted one."""
        newest = max(self._folder.glob("code-[0-9][0-9][0-9][0-9]"), default=None)
        return None if newest is None else int(newest.read_text("ascii"))

    def _write(self, name: str, number: int) -> Path:
        path, temporary = self._folder / name, self._folder / f"new-{name}-{os.getpid()}"
        temporary.write_text(str(number), "ascii")
        return temporary.replace(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except (OSError, IndexError):  # no /proc, or not ours to ask
        return True
    return (
        state != "Z"
    )  # ended, though nobody has asked for its exit code: what happens below a container's first process
