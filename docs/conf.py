"""How Sphinx builds the documentation; `tox -e docs` runs it with every warning an error, and without the network."""

from __future__ import annotations

from nomyo_attest._version import __version__

project = "nomyo-attest"
copyright = "the nomyo authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
# Headings can be linked to, as on the pages of repository hosts: rules.md#key-strength
myst_heading_anchors = 3

# Docstrings are plain text with `names` in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
add_module_names = False
napoleon_numpy_docstring = False
# Attributes told in a class docstring are also members of their own; this keeps them from being described twice.
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"nomyo-attest {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
