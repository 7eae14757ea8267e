"""`login`, `whoami`."""

from __future__ import annotations

from typing import Annotated

import typer

from datacomp.client import Client, Login
from datacomp.console import console

commands = typer.Typer()


@commands.command()
def login(
    url: Annotated[str, typer.Argument(help="Address of the server, for instance http://127.0.0.1:8000.")],
    name: Annotated[str | None, typer.Option(help="Account name; asked for when absent.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Make a new account.")] = False,
    token: Annotated[str | None, typer.Option(help="Use this API token instead of name and password.")] = None,
    password: Annotated[str | None, typer.Option(envvar="DATACOMP_PASSWORD", help="Asked for when absent.")] = None,
) -> None:
    """Remember a server and an API token for it on this machine."""
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    if token is None:
        name = name or typer.prompt("Name")
        password = password or typer.prompt("Password", hide_input=True, confirmation_prompt=register)
        client = Client(url)
        token = (client.register(name, password) if register else client.new_token(name, password)).token
    account = Client(url, token).whoami()
    Login(url.rstrip("/"), token, account.name).save()
    console.print(f"logged in to {url} as [bold]{account.name}[/] ({account.role})")


@commands.command()
def whoami() -> None:
    """Show the server and account in use."""
    client = Client.from_login()
    account = client.whoami()
    console.print(f"{account.name} ({account.role}) at {client.url}")
