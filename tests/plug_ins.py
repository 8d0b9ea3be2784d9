"""Plug-ins as users install them: the packages that the pages of docs/extend print, installed by pip."""

from __future__ import annotations

import atexit
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from semiovs.registry.plug_ins import find_plug_ins
from semiovs.registry.signature import read_options

PAGES = Path(__file__).parents[1] / "docs" / "extend"
#: Page -> the module that it prints.
MODULES = {"new-method": "mean_teacher", "new-teacher": "colours", "new-dataset": "tiles"}


def blocks(page: str, language: str) -> list[str]:
    """Code blocks of a page of docs/extend."""
    text = (PAGES / f"{page}.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@cache
def installed(*pages: str) -> Path:
    """A folder with the packages of some pages, for PYTHONPATH; removed when the tests end."""
    work = Path(tempfile.mkdtemp(prefix="semiovs-plug-ins-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    for page in pages:
        project = work / page
        project.mkdir()
        (project / f"{MODULES[page]}.py").write_text(blocks(page, "python")[0], "utf-8")
        (project / "pyproject.toml").write_text(blocks(page, "toml")[0], "utf-8")
        install(project, work / "site")
    return work / "site"


def install(project: Path, site: Path) -> None:
    """`pip install` a project into a folder, without network."""
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(site), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 0, done.stderr


@contextmanager
def plugged(site: Path) -> Iterator[None]:
    """This process, with the packages in `site` among the installed ones."""
    before = set(sys.modules)
    sys.path.insert(0, str(site))
    forget()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
                del sys.modules[name]
        forget()


def forget() -> None:
    """Let the next look-up scan the installed packages anew."""
    importlib.invalidate_caches()
    find_plug_ins.cache_clear()
    read_options.cache_clear()
