"""Sphinx settings: MyST pages, furo theme."""

project = "semiovs"
author = "The semiovs authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "semiovs"
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]
