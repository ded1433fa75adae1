"""The configuration of Sphinx. `tox -e docs` builds the site without the network, with every warning as an error."""

from __future__ import annotations

import sys
from pathlib import Path

# Autodoc imports the packages from the checkout, so that the dependency group `docs` alone builds the site.
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent / "extensions"))

from nomyo_attest._version import __version__

project = "nomyo-attest"
copyright = "the nomyo authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "schema_table",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
# Headings are link targets, as on the pages of repository hosts: rules.md#key-strength
myst_heading_anchors = 3

# Make dashes, and leave quotation marks as they are.
smartquotes_action = "D"
# Docstrings are plain text with `names` in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# PySpark needs Java, and tpm2-pytss a TPM software stack.
autodoc_mock_imports = ["pandas", "pyspark", "tpm2_pytss"]
add_module_names = False
napoleon_numpy_docstring = False
# Attributes in a class docstring are members, too: document each once.
napoleon_use_ivar = True

# A build needs no network: the inventories are in the repository, and list only the names that the pages link to.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "pyarrow": ("https://arrow.apache.org/docs/python", "inventories/pyarrow.inv"),
}

# In a `console` block, copy the commands without prompts and output.
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
# The default of the theme underlines imported names.
pygments_dark_style = "github-dark"
html_title = f"nomyo-attest {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
