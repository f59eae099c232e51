"""Where a request came from: the peer, or what proxies that are trusted say of it."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return addresses and networks (`10.0.0.1`, `10.0.0.0/8`); ValueError for anything else."""
    return tuple(ip_network(text.strip(), strict=False) for text in texts)


def address_of(
    peer: str | None, forwarded_for: Sequence[str], trusted: tuple[Network, ...]
) -> str | None:
    """Return the client's address as text; None when there is none (a unix socket).

    `X-Forwarded-For` is read from its right end: every hop that is trusted hands on what it was
    told, and the first one that is not is the client.
    """
    if not trusted or not forwarded_for:
        return _as_text(peer or "")
    address = _parse(peer or "")
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    while address and hops and any(address in network for network in trusted):
        before = _parse(hops.pop())
        if before is None:
            break
        address = before
    return str(address) if address else None


@lru_cache(maxsize=4096)
def _as_text(peer: str) -> str | None:
    address = _parse(peer)
    return str(address) if address else None


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
