"""How the tests are shared out over processes."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests that share a module's fixtures run in one process, so that what they share is made once (`--dist loadgroup`)."""
    for item in items:
        shared = (fixture for fixtures in item._fixtureinfo.name2fixturedefs.values() for fixture in fixtures)
        if any(fixture.scope == "module" for fixture in shared):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
