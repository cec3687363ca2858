"""TLS to a home library: its certificate is checked, against its own authority if it has one."""

import ipaddress
import ssl
from pathlib import Path


def is_loopback(host: str) -> bool:
    """Whether what goes to this host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context(ca_file: Path | None, *, verify: bool) -> ssl.SSLContext:
    """The terms on which we speak. Without `ca_file` the machine's own authorities are trusted.

    Raises OSError when `ca_file` cannot be used.
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
