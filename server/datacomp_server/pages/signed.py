"""Pages and forms of people who are signed in: others are led to the form for that, and a form must be one of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from datacomp.problems import DatacompError, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.dependencies import require_organiser
from datacomp_server.errors import status_of
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, go, text_of


class SignInFirst(Exception):
    """Nobody is signed in where somebody must be; `then` is the page to go on with."""

    def __init__(self, then: str) -> None:
        super().__init__(then)
        self.then = then


@dataclass(frozen=True)
class Sent:
    """A form that came from one of our pages, and who sent it."""

    viewer: Viewer
    fields: FormData

    def text(self, name: str) -> str:
        """A text field, without blanks around it; empty when absent."""
        return text_of(self.fields, name)

    def texts(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for value in self.fields.getlist(name) if isinstance(value, str)]


def signed_form(then: str) -> Callable[..., Sent]:
    """A dependency: the form of somebody who is signed in. `then` is where others go on after signing in (it may name
    the path's parameters in braces); they are asked to only once the form is known to be ours."""

    def check(request: Request, viewer: PageViewer, form: SmallForm) -> Sent:
        check_csrf(request, viewer, form.get("csrf"))
        if viewer is None:
            raise SignInFirst(then.format(**request.path_params))
        return Sent(viewer, form)

    return check


def signed_in(request: Request, viewer: PageViewer) -> Viewer:
    """Who looks at a page that is for somebody: others sign in, and come back to it."""
    if viewer is None:
        query = f"?{request.url.query}" if request.url.query else ""
        raise SignInFirst(request.url.path + query)
    return viewer


SignedPage = Annotated[Viewer, Depends(signed_in)]


def organiser(viewer: SignedPage) -> Viewer:
    """Who looks at an organisers' page: others are refused."""
    return require_organiser(viewer)


def organiser_form(sent: Annotated[Sent, Depends(signed_form("/organise"))]) -> Sent:
    """The form of an organiser."""
    require_organiser(sent.viewer)
    return sent


OrganiserPage = Annotated[Viewer, Depends(organiser)]
OrganiserForm = Annotated[Sent, Depends(organiser_form)]


def attempt(request: Request, act: Callable[[], Page | str], page: Callable[[list[Problem]], Page]) -> Response:
    """Do what a form asks for, then show the page that `act` gives, or go on to its address. What is not possible is
    told on `page`."""
    try:
        found = act()
    except DatacompError as error:
        return answer(request, page(list(error.problems)), status_of(error))
    return go(found) if isinstance(found, str) else answer(request, found)


def install_sign_in(app: FastAPI) -> None:
    """Lead whoever must sign in to the form."""

    def lead(_request: Request, error: Exception) -> Response:
        if not isinstance(error, SignInFirst):
            raise error
        return go(f"/account/sign-in?next={quote(error.then)}")

    app.add_exception_handler(SignInFirst, lead)
