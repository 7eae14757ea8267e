"""What a download may take: bytes, seconds, pixels, requests to one host, and whom it may connect to."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass
from typing import Any

from datacomp.problems import BadInput

DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")
"""Of X-Robots-Tag: whoever sends one of them does not want the image used. img2dataset's own list."""


@dataclass(frozen=True)
class Limits:
    """Of one image, and of the requests to one host. Plain values, so that every distributor can carry them."""

    seconds: float = 20.0
    """For one image, redirects included, from the first look-up to the last byte."""
    connect_seconds: float = 10.0
    """For each connection, and each wait for bytes."""
    bytes: int = 32 << 20
    pixels: int = 64_000_000
    """More than that are not decoded."""
    redirects: int = 5
    retries: int = 2
    """Further tries where trying again may help."""
    host_connections: int = 8
    """Requests to one host at a time, by each process."""
    host_interval: float = 0.0
    """Seconds between the beginnings of two requests to one host, by each process."""
    allowed: tuple[str, ...] = ()
    """Networks that are no public ones and may be connected to nevertheless, as `10.1.0.0/16`."""
    user_agent: str = "datacomp"
    directives: tuple[str, ...] = DIRECTIVES

    def __post_init__(self) -> None:
        for network in self.allowed:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                hint = "write it as 10.1.0.0/16 or 127.0.0.1/32"
                raise BadInput.of("network-invalid", f"{network!r} is no network: {error}", hint=hint) from error

    def admits(self, address: str) -> bool:
        """Whether an IP address may be connected to: public ones, and those of `allowed`."""
        found = ipaddress.ip_address(address.partition("%")[0])
        if any(found in ipaddress.ip_network(network) for network in self.allowed):
            return True
        return all(map(_public, (found, *_within(found))))

    def to_json(self) -> dict[str, Any]:
        """For a child process."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> Limits:
        """From `to_json`."""
        named: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        return cls(**named)


NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    translated = [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in NAT64 else []
    return [inner for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if inner] + translated


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast
