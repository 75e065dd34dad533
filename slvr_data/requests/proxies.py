"""Whether a proxy that the environment names stands between us and a server."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def direct(base_url: str) -> dict[str, None]:
    """The routes of the HTTP client that use no proxy: this machine is reached without one."""
    host = urlsplit(base_url).hostname or ""
    if not _is_here(host):
        return {}
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None}


def proxy_between(base_url: str) -> str:
    """host:port of the proxy that calls of this address go through, never its password; empty without one."""
    parts = urlsplit(base_url)
    host, proxies = parts.hostname or "", getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_here(host) or proxy_bypass(host):
        return ""
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2] or "without a name"


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
