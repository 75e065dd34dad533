"""Put replies into a store without end, and tell of each: what tests kill.

    python putting.py FOLDER SCRATCH START PER_SECOND

Prints `ready`, then for each reply that `put` has returned from: the monotonic time, its number, and how many of this
process's replies were committed by then. With `SLVR_TEST_PATIENT` it waits at each thousandth for the segment.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from slvr_data.requests.store import RequestStore, StoredReply


def reply(number: int, text: str | None = None) -> StoredReply:
    """The reply of that number, like no other."""
    words = f"reply {number} " * (1 + number % 150) if text is None else text
    return StoredReply(
        key=f"{number:064x}", base_key=f"{number:063x}b", attempt=number % 4, purpose="profile",
        failure="schema" if number % 4 else None, text=words, reasoning="hm" if number % 2 else None,
        finish_reason="stop", evidence="color: no such field" if number % 4 else None, prompt_tokens=number,
        completion_tokens=2, cached_tokens=3, seconds=number / 7, model="some/model",
    )  # fmt: skip


def main() -> None:
    folder, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    number, rate = int(sys.argv[3]), float(sys.argv[4])
    store = RequestStore(folder, scratch)
    before, put = store._writer._committed_count, 0
    os.write(1, b"ready\n")
    while True:
        store.put(reply(number))
        put += 1
        os.write(1, f"{time.monotonic()} {number} {store._writer._committed_count - before}\n".encode())
        number += 1
        time.sleep(1 / rate)
        while "SLVR_TEST_PATIENT" in os.environ and put % 1000 == 0 and store._writer._kept_count - before < put:
            time.sleep(0.001)


if __name__ == "__main__":
    main()
