"""A set at an address, worked on in a scratch folder on a local disk: fetched, kept in step, published, let go."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from slvr_data.errors import SlvrError
from slvr_data.files import disk_errors
from slvr_data.lock import Lock
from slvr_data.remote.fetching import Fetching
from slvr_data.remote.holding import Holding, LostError
from slvr_data.remote.place import Place
from slvr_data.remote.record import load_record, save_record
from slvr_data.remote.sending import Sending
from slvr_data.remote.steady import Stop

_SEND_SECONDS = 1.0
"""Between two looks for what is new."""
_LOOKING_SHARE = 10
"""It waits so many times as long as the last look took: of a large set a look is many files."""
_PROGRESS_LOOKS = 5
_NEVER_THERE = ".work/never-there"
"""Removing it asks whether removing is allowed, before anything depends on it."""


def scratch_of(place: Place, scratch: Path | None, purpose: str = "set") -> Path:
    """The folder of a place's copy below `scratch` (None: SLVR_SCRATCH, or the user's cache); its parent is made.

    Copies for writing ("set") and reading are apart.
    """
    if scratch is None and os.environ.get("SLVR_SCRATCH"):
        scratch = Path(os.environ["SLVR_SCRATCH"])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(place.address.encode()).hexdigest()[:16]
    root = (scratch or cache / "slvr" / "remote").absolute() / f"{purpose}-{digest}"
    with disk_errors(f"making {root}"):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root / place.address.rpartition("/")[2]


@contextmanager
def mirrored(place: Place, folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """`folder`, as a copy of the set at `place`, of which this run is the one driver; sent when the block ends.

    Finished work goes to the place as it is made, also where the block is left by an error; a publication only where
    it ends well.

    Raises:
        UsageError: another driver lives, or the place holds something else.
        RefusedError, StoreError: the place cannot be read or written.
        LostError: another driver has taken over.
    """
    with disk_errors(f"making {folder}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.remove([_NEVER_THERE])
    stop = Stop()
    holding = Holding(place.until(stop), say)
    holding.take()
    record_file = folder.parent / "mirror.json"
    record = load_record(record_file)
    sending = Sending(place.until(stop), folder, record, record_file)
    try:
        with _scratch_locked(folder), _Heart(holding, stop) as heart, heart.told():
            contiguous = holding.before is not None and holding.before == record.session
            if contiguous:
                record.session = holding.session
                save_record(record_file, record)
            place.give_up_uploads()
            Fetching(place, folder, record, say).everything(contiguous)
            record.session = holding.session
            save_record(record_file, record)
            with _Sender(sending, holding, say, stop):
                yield folder
            holding.confirm()
            sending.publication(holding.confirm)
    except BaseException:
        with suppress(SlvrError):
            holding.release(forget=holding.before is None and not sending.sent_anything)
        raise
    holding.release(forget=holding.before is None and not sending.sent_anything)


@contextmanager
def _scratch_locked(folder: Path) -> Iterator[None]:
    """The scratch is this run's alone.

    Whoever drives the place knows that no other driver lives: a lock that one left there on another host, or under
    another name of this one, is nobody's, unless the kernel knows its holder.
    """
    with Lock(folder.parent / "lock", others_gone=True):
        inner = folder / ".work" / "lock"
        if inner.exists():
            with Lock(inner, others_gone=True):
                pass  # it is empty then, and the run takes it as its own
        yield


class _Heart:
    """Beats while the block runs; where the place is lost, the block is interrupted.

    `stop` ends the patience of the calls of the place: it stays set where the block is left by an error.
    """

    def __init__(self, holding: Holding, stop: Stop) -> None:
        self._holding, self._stop = holding, stop
        self._end = threading.Event()
        self._lost: LostError | None = None
        self._thread = threading.Thread(target=self._beats, daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._stop.set()
        self._thread.join()
        if error is None:
            self._stop.clear()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Where the block is interrupted because the place was lost, the reason is raised."""
        try:
            yield
        except KeyboardInterrupt:
            if self._lost is not None:
                raise self._lost from None
            raise

    def _beats(self) -> None:
        while not self._end.wait(self._holding.seconds / 4):
            try:
                self._holding.beat()
            except LostError as error:
                self._lost = error
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)  # a real signal: it ends waiting, too
                return
            except SlvrError:  # the store does not answer: whoever sends says so, and the next beat tries again
                continue


class _Sender:
    """Sends work in the background while the block runs, and what is left at its end.

    Where the block is left by an error and the store did not answer the last time, it is left to the next run.
    """

    def __init__(self, sending: Sending, holding: Holding, say: Callable[[str], None], stop: Stop) -> None:
        self._sending, self._holding, self._say, self._stop = sending, holding, say, stop
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sends, daemon=True)
        self._failing = False

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._stop.set()
        self._thread.join()
        self._stop.clear()
        if self._holding.lost:
            return
        if error is not None and self._failing:
            self._say("what was not sent stays in the scratch folder: the same command sends it")
            return
        try:
            self._sending.work()
        except SlvrError as failed:
            if error is None:
                raise
            self._say(str(failed))

    def _sends(self) -> None:
        looks = 0
        while not self._end.wait(max(_SEND_SECONDS, _LOOKING_SHARE * self._sending.look_seconds)):
            if self._holding.lost:
                return
            try:
                self._sending.work()
                looks += 1
                if looks % _PROGRESS_LOOKS == 1:
                    with suppress(SlvrError):
                        self._sending.progress()
                self._failing = False
            except SlvrError as error:  # the run goes on here; its end tries once more, and says it if it must
                self._tell(f"going on in the scratch folder, and trying again: {error}")
            except OSError as error:  # of the scratch: the run itself meets it too
                self._tell(f"nothing was sent this time: {error}")

    def _tell(self, text: str) -> None:
        """Once, until it succeeds again."""
        if not self._failing and not self._end.is_set():
            self._say(text)
        self._failing = True
