"""Sphinx's settings for the course as a web site; tools/build_site.py lays out its source and calls it."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

project = "Tuning neural networks"
author = "the course's authors"
copyright = "the course's authors; text and figures CC BY 4.0, code MIT"
language = "en"
extensions = ["myst_nb"]

# What stands on the pages is what the notebooks store. Nothing runs when they are built, and no widget asks a CDN for
# its script: where a lab would be, there is its picture.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/markdown", 5)]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "misc.highlighting_failure"]   # a step from # to ###; IPython's magics
html_math_renderer = "mathml"

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_sourcelink = False
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],                               # the search field in the side bar is enough
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def visit_inline(writer, node):
    writer.body.append(convert(node.astext()))
    raise SkipNode


def visit_block(writer, node):
    writer.body.append(f"<div class='math'>{convert(node.astext(), display='block')}</div>")
    raise SkipNode


def setup(app):
    """Formulas as MathML: browsers draw it and screen readers read it, with no script and no font to fetch."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
