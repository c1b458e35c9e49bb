"""Sphinx's settings for the course as a web site; tools/build_site.py lays out its source."""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

from pages import keep_together  # of tools/, where build_site.py is

project = "Tuning neural networks"
author = "the course's authors"
copyright = "the course's authors; text and figures CC BY 4.0, code MIT"
language = "en"
extensions = ["myst_nb"]

# What stands on the pages is what the notebooks store. Nothing runs when they are built, and no
# widget asks for its script: where a lab would be, there is its picture or its recording.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # tables in outputs, as JupyterLab shows them
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
nb_mime_priority_overrides = [("html", "text/markdown", 5)]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",
    "misc.highlighting_failure",
]  # a step from # to ###; IPython's magics
html_math_renderer = "mathml"

# The pages are layout.html and site.css: no theme's scripts, fonts or icons.
html_theme = "basic"
html_title = project
templates_path = ["_templates"]
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_copy_source = False
html_use_index = False
html_domain_indices = False
html_show_search_summary = False  # it would fetch pages, which files cannot do


def visit_inline(writer, node):
    writer.body.append(convert(node.astext()))
    raise SkipNode


def visit_block(writer, node):
    writer.body.append(f"<div class='math'>{convert(node.astext(), display='block')}</div>")
    raise SkipNode


def mend(app, page, template, context, document):
    """What readers without sight would stumble over, and tables that narrow windows must scroll."""
    if "body" in context:
        # MyST-NB calls every fold so, whatever can be read on it.
        body = context["body"].replace(' aria-label="Toggle hidden content"', "")
        body = re.sub(r'<th class="head[^>]*>(<p>\s*</p>)?</th>', "<td></td>", body)
        body = re.sub(
            r'(?s)(<table class="docutils.*?</table>)', r'<div class="table">\1</div>', body
        )
        context["body"] = keep_together(body)


def setup(app):
    """Formulas as MathML: browsers draw it and screen readers read it, without script or font."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("html-page-context", mend)
