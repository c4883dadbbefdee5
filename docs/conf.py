import re
from importlib.metadata import version as version_of

from numpy.typing import ArrayLike
from sphinx.util.typing import stringify_annotation

project = "pyro-decomp"
author = "The pyro-decomp developers"
copyright = f"2026, {author}"
version = release = version_of("pyro-decomp")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"pyro-decomp {version}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# A tutorial that fails is a warning that shows its traceback: sphinx-build -W fails on it.
nb_execution_mode = "force"
nb_execution_show_tb = True
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

# numpy's alias is a union of eight types, which would be spelt out at every argument.
ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")


def shorten(*event):
    signature, returns = event[-2:]
    if signature:
        signature = signature.replace(ARRAY_LIKE, "ArrayLike")
        signature = re.sub(r"<class '([\w.]+)'>", r"\1", signature)  # in a default: Python again
    return signature, returns


def setup(app):
    app.connect("autodoc-process-signature", shorten)
