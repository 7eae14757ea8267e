"""`login`, `logout`, `whoami`, `account ...`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from datacomp.account_client import AccountClient
from datacomp.client import Client, Login
from datacomp.console import console
from datacomp.messages import Keep, MailSetting, Message, QuotaCount, Scope

commands = typer.Typer()
account_commands = typer.Typer(
    help="Your account: quota, tokens, sessions, mail, webhooks, data.", no_args_is_help=True
)
Scopes = Annotated[
    list[Scope] | None, typer.Option("--scope", help="What the token may do; may be given again. Default: all you may.")
]
Days = Annotated[int | None, typer.Option("--expires-days", min=1, max=3650, help="When it ends. Default: never.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the API gives it.")]
Password = Annotated[str | None, typer.Option(envvar="DATACOMP_PASSWORD", help="Asked for when absent.")]


@commands.command()
def login(
    url: Annotated[str, typer.Argument(help="Address of the server, for instance http://127.0.0.1:8000.")],
    name: Annotated[str | None, typer.Option(help="Account name; asked for when absent.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Make a new account.")] = False,
    token: Annotated[str | None, typer.Option(help="Use this API token instead of name and password.")] = None,
    password: Password = None,
    scope: Scopes = None,
    expires_days: Days = None,
) -> None:
    """Remember a server and an API token for it on this machine."""
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    if token is None:
        name = name or typer.prompt("Name")
        password = password or typer.prompt("Password", hide_input=True, confirmation_prompt=register)
        if register:
            token = Client(url).register(name, password).token
        else:
            wish = AccountClient(url)
            token = wish.new_token(name, password, "cli", scopes=scope, expires_days=expires_days).token
    account = Client(url, token).whoami()
    Login(url.rstrip("/"), token, account.name).save()
    console.print(f"logged in to {url} as [bold]{account.name}[/] ({account.role})")


@commands.command()
def logout() -> None:
    """Revoke the token of this machine and forget it."""
    AccountClient.from_login().revoke_token("current")
    Login.path().unlink(missing_ok=True)
    console.print("logged out: the token is revoked")


@commands.command()
def whoami() -> None:
    """Show the server and account in use."""
    client = Client.from_login()
    account = client.whoami()
    team = f", team {escape(account.team)}" if account.team else ""
    console.print(f"{account.name} ({account.role}{team}) at {client.url}; this token may {', '.join(account.scopes)}")


@account_commands.command()
def quota(as_json: Json = False) -> None:
    """What is used and left on every board that takes submissions: yours, or your team's."""
    quotas = AccountClient.from_login().quota()
    if as_json:
        _print_json(quotas)
        return
    table = Table("board", "today", "in all", "under way")
    for line in quotas:
        board = f"{line.board} (rehearsals)" if line.rehearsal else line.board
        table.add_row(board, _used(line.day), _used(line.total), _used(line.concurrent))
    console.print(table)


@account_commands.command()
def tokens(as_json: Json = False) -> None:
    """Your API tokens, without their secrets."""
    found = AccountClient.from_login().tokens()
    if as_json:
        _print_json(found)
        return
    table = Table("id", "label", "may", "made", "last used", "ends")
    for line in found:
        ends = "expired" if line.expired else f"{line.expires_at:%Y-%m-%d}" if line.expires_at else "never"
        used = f"{line.last_used_at:%Y-%m-%d %H:%M}" if line.last_used_at else "never"
        label = f"{escape(line.label)} (this one)" if line.current else escape(line.label)
        table.add_row(line.id, label, ", ".join(line.scopes), f"{line.created_at:%Y-%m-%d}", used, ends)
    console.print(table)


@account_commands.command("new-token")
def new_token(
    label: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Scopes = None,
    expires_days: Days = None,
    password: Password = None,
) -> None:
    """Make another API token. It is printed this once."""
    client = AccountClient.from_login()
    password = password or typer.prompt("Password", hide_input=True)
    made = client.new_token(client.whoami().name, password, label, scopes=scope, expires_days=expires_days)
    print(made.token)  # noqa: T201


@account_commands.command("revoke-token")
def revoke_token(token: Annotated[str, typer.Argument(help="Its id, as `datacomp account tokens` shows it.")]) -> None:
    """Revoke an API token."""
    AccountClient.from_login().revoke_token(token)
    console.print("revoked")


@account_commands.command()
def sessions() -> None:
    """The browsers that are signed in."""
    table = Table("id", "browser", "address", "since", "last used")
    for line in AccountClient.from_login().sessions():
        used = f"{line.last_used_at:%Y-%m-%d %H:%M}" if line.last_used_at else ""
        since = f"{line.created_at:%Y-%m-%d %H:%M}"
        table.add_row(line.id, escape(line.client[:60]), line.address or "", since, used)
    console.print(table)


@account_commands.command("sign-out-everywhere")
def sign_out_everywhere(
    tokens: Annotated[bool, typer.Option("--tokens", help="Revoke all API tokens too, this one included.")] = False,
) -> None:
    """End all browser sessions."""
    AccountClient.from_login().sign_out_everywhere(tokens=tokens)
    console.print("signed out everywhere" + (", all tokens revoked" if tokens else ""))


@account_commands.command()
def password() -> None:
    """Change the password. Browser sessions end, tokens go on."""
    client = AccountClient.from_login()
    current = typer.prompt("Present password", hide_input=True)
    client.change_password(current, typer.prompt("New password", hide_input=True, confirmation_prompt=True))
    console.print("the password is changed")


@account_commands.command()
def mail(
    on: Annotated[bool | None, typer.Option("--on/--off", help="Whether you want mail when a submission ends.")] = None,
    email: Annotated[str | None, typer.Option(help="Another address; it is sent a link that confirms it.")] = None,
) -> None:
    """Show whether you get mail when a submission ends, or change it."""
    client = AccountClient.from_login()
    setting = client.mail() if on is None else client.set_mail(MailSetting(email=email, on_final=on))
    where = f"to {escape(setting.email)}{'' if setting.confirmed else ' once confirmed'}" if setting.email else ""
    console.print(f"mail when a submission ends: {'on' if setting.on_final else 'off'} {where}")
    if not setting.available:
        console.print("this platform sends no mail")


@account_commands.command()
def webhooks() -> None:
    """The addresses that are told when a submission of yours, or of your team's, ends."""
    for line in AccountClient.from_login().webhooks():
        console.print(f"{line.id}  {escape(line.url)}", soft_wrap=True)


@account_commands.command("add-webhook")
def add_webhook(url: Annotated[str, typer.Argument(help="https://...")]) -> None:
    """Have an address told. Prints the secret that its calls are signed with, this once."""
    print(AccountClient.from_login().add_webhook(url).secret)  # noqa: T201


@account_commands.command("delete-webhook")
def delete_webhook(webhook: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Delete a webhook."""
    AccountClient.from_login().delete_webhook(webhook)
    console.print("deleted")


@account_commands.command()
def notices(as_json: Json = False) -> None:
    """What was and will be told to your webhooks and by mail, and what went wrong."""
    found = AccountClient.from_login().notices()
    if as_json:
        _print_json(found)
        return
    table = Table("when", "what", "submission", "to", "tries", "how it stands")
    for line in found:
        stands = "delivered" if line.delivered_at else "given up" if line.given_up_at else "owed"
        when = f"{line.created_at:%Y-%m-%d %H:%M}"
        table.add_row(when, line.event, line.submission, escape(line.to), str(line.tries), f"{stands} {line.error}")
    console.print(table)


@account_commands.command()
def export(
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
) -> None:
    """Everything that is stored about you, but for secrets and files, as JSON."""
    text = AccountClient.from_login().export().model_dump_json(indent=2)
    if out is None:
        print(text)  # noqa: T201
        return
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    console.print(f"written to {out}")


@account_commands.command()
def delete(
    submissions: Annotated[Keep, typer.Option(help="What becomes of your results on the boards.")],
    password: Password = None,
) -> None:
    """Delete the account, for good. Asks for its name and password."""
    client = AccountClient.from_login()
    name = typer.prompt(f"To delete the account {client.whoami().name}, type its name")
    client.delete(name, password or typer.prompt("Password", hide_input=True, default=""), submissions)
    Login.path().unlink(missing_ok=True)
    console.print("the account is deleted")


@commands.command()
def audit(
    what: Annotated[str | None, typer.Option(help="Only acts of this kind, for instance sign-in-failed.")] = None,
    account: Annotated[str | None, typer.Option(help="Only what concerns this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many lines.")] = 100,
    as_json: Json = False,
) -> None:
    """The audit log, newest first, for organisers."""
    lines = AccountClient.from_login().audit(what=what, account=account, limit=limit)
    if as_json:
        _print_json(lines)
        return
    table = Table("when", "what", "by", "to", "about", "from")
    for line in lines:
        when = f"{line.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(when, line.what, line.actor or "", line.subject or "", line.about, line.address or "")
    console.print(table)


def _used(count: QuotaCount) -> str:
    return f"{count.used}" if count.limit is None else f"{count.used} of {count.limit}"


def _print_json(lines: Sequence[Message]) -> None:
    sys.stdout.write("[" + ",\n".join(line.model_dump_json() for line in lines) + "]\n")
