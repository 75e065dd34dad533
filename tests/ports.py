"""Ports for servers that are started later."""

from __future__ import annotations

import random
import socket


def free_port(in_a_row: int = 1) -> int:
    """The first of so many free ports, below those that Linux gives to whoever takes any."""
    while True:
        first = random.randrange(10_000, 32_000)
        try:
            for port in range(first, first + in_a_row):
                with socket.socket() as other:
                    other.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
