from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import icsg3d

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "icsg3d"
author = "The icsg3d developers"
project_copyright = "2026, The icsg3d developers"
release = version = icsg3d.__version__

extensions = [
    "interface",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_templates"]
autosummary_generate = True
templates_path = ["_templates"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Tutorials are run as the pages are built; a block that fails fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0)]

# Each kernel would warn that its local sockets are not encrypted, and each tutorial announce its start.
profile = Path(tempfile.mkdtemp(prefix="icsg3d-docs-")) / "profile_default"
profile.mkdir()
(profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 'ERROR'\n")
os.environ["IPYTHONDIR"] = str(profile.parent)
logging.getLogger("traitlets").setLevel(logging.WARNING)

html_theme = "furo"
html_title = f"icsg3d {release}"
