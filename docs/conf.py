"""Sphinx settings: MyST pages, furo theme. Everything a page needs is in the site: it works without a network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

project = "semiovs"
author = "The semiovs authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "semiovs"
html_static_path = ["_static"]
html_css_files = ["semiovs.css"]
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

copybutton_prompt_text = "$ "  # of a block with prompts the commands alone are copied, not what they print


def _inline_formula(writer: Any, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _displayed_formula(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


_LITERAL = re.compile(r'(?<=<span class="pre">)[^<]+')
_BREAK = re.compile(r"(?<=[/_.=,-])(?=\w)")


def _break_literals(_app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Let names in `code` break after their separators; what is copied stays the same."""
    if "body" in context:
        context["body"] = _LITERAL.sub(lambda found: _BREAK.sub("<wbr>", found[0]), context["body"])


def setup(app: Any) -> None:
    """Formulas become MathML when the site is built: browsers draw it without a script or a font from elsewhere."""
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_displayed_formula, None))
    app.connect("html-page-context", _break_literals)
