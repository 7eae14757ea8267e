"""From a typed context to HTML. A context names its template, so the two cannot be mixed up."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from datacomp_server.charts.bundle import bundle_url
from datacomp_server.pages import filters
from datacomp_server.pages.assets import static_url
from datacomp_server.pages.contexts import Page
from datacomp_server.resources import web_dir


@cache
def environment() -> Environment:
    """The Jinja environment: everything is escaped, and a name that a context lacks is an error."""
    made = Environment(
        loader=FileSystemLoader(web_dir() / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({function.__name__: function for function in filters.ALL})
    made.globals["static"] = static_url
    made.globals["vega"] = bundle_url
    return made


def render(page: Page, template: str | None = None) -> str:
    """HTML of a page; `template` overrides the context's own, for fragments of the same context."""
    return environment().get_template(template or page.template).render(page=page, site=page.site)
