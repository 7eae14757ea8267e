"""Which addresses the platform calls for people, and a connection that goes to no other.

Somebody's webhook must not make the server speak to its own network (server-side request forgery). So a host's name
is looked up at every call, every address that it has must be a public one, and the connection goes to an address that
was checked: a name that changes its mind between check and call gains nothing. Redirects and proxies are not followed,
because `httpcore` knows neither.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from datacomp.problems import BadInput

SocketOptions = Iterable[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]]


def check_url(url: str, *, private: bool) -> None:
    """`BadInput` for an address of a kind that is not called. Looks up no name."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(f"the address cannot be read: {error}") from error
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("the address has characters that belong in none")
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise _refused("the address does not begin with https://")
    if not host or port == 0 or parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("the address must have a host, and neither a password nor a fragment")
    if not private and _address(host) is not None and not _is_public(host):
        raise _refused(f"{host} is not an address of the public internet")


def public_addresses(host: str, port: int, *, private: bool) -> list[str]:
    """All addresses of a host, if all may be called. Raises `httpcore.ConnectError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} cannot be looked up") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not (private or all(_is_public(address) for address in addresses)):
        raise httpcore.ConnectError(f"{host} has an address that is not of the public internet")
    return addresses


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _is_public(host: str) -> bool:
    address = _address(host)
    if address is None:
        return False
    for inner in (getattr(address, "ipv4_mapped", None), getattr(address, "sixtofour", None)):
        address = inner or address
    if isinstance(address, ipaddress.IPv6Address) and address.teredo is not None:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _refused(message: str) -> BadInput:
    return BadInput.of("webhook-address", message, where="url", hint="give a public address such as https://host/path")


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses alone, and ends everything at a deadline, however slowly the other side answers."""

    def __init__(self, *, private: bool, seconds: float) -> None:
        self._inner = httpcore.SyncBackend()
        self._private = private
        self._deadline = time.monotonic() + seconds

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of the host that answers."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in public_addresses(host, port, private=self._private):
            try:
                stream = self._inner.connect_tcp(address, port, _left(self._deadline), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: SocketOptions | None = None
    ) -> httpcore.NetworkStream:
        """Never."""
        raise httpcore.ConnectError("local sockets are not called")


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every step ends at one deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As the inner one."""
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As the inner one."""
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        """As the inner one."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """As the inner one: the certificate must be the name's, whatever address was called."""
        inner = self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """As the inner one."""
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the answer took too long")
    return left
