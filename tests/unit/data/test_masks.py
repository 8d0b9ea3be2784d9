"""The earlier place of the reader of masks."""

import subprocess
import sys
import warnings
from importlib import import_module


def test_the_earlier_place_hands_out_the_reader_and_says_the_new_one(monkeypatch):
    monkeypatch.delitem(sys.modules, "semiovs.data.masks", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        earlier = import_module("semiovs.data.masks")
    assert earlier.MaskReader is import_module("semiovs.images.masks").MaskReader
    (told,) = [each for each in caught if each.category is DeprecationWarning and "semiovs" in str(each.message)]
    assert str(told.message) == "semiovs.data.masks has moved: from semiovs.images.masks import MaskReader"


def test_a_script_is_told_its_own_line(tmp_path):
    script = tmp_path / "old.py"
    script.write_text("\nfrom semiovs.data.masks import MaskReader\nprint(MaskReader(('a', 'b')).num_classes)\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
    assert f"{script}:2: DeprecationWarning: semiovs.data.masks has moved" in done.stderr
