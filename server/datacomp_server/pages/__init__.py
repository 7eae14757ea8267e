"""The public pages: Jinja templates over typed contexts.

No SQL here; endpoints translate between services and pages.
"""
