"""The Ray engine: each call is a task of a Ray cluster, whose machines share the working folder with this process.

Ray's own retries are off: a call whose worker or machine is gone is sent again from here, so that one which ends all
its workers can be told apart, and named.
"""

from __future__ import annotations

import pickle
import queue
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipelines.config import BuildConfig
from pipelines.engines.config import RayConfig, StageNeeds
from pipelines.engines.lost import OnLost, WorkerLostError, named
from pipelines.engines.ray_cluster import checked_address, connect, ray_module
from pipelines.engines.resent import Losses, Machines
from pipelines.engines.results import results
from slvr_data.errors import RunError
from slvr_data.files import write_atomic
from slvr_data.remote.steady import RefusedError, StoreError

_ADDRESS = re.compile(r"\(pid=\d+, ip=([^,)\s]+)")
"""The machine of a worker, in what Ray says of an error."""
_NOT_LOADED = "The remote function failed to import on the worker."
"""So begins Ray's error where a worker does not find our packages."""
_LOOK_SECONDS = 5.0
"""Between two looks at how many machines there are."""


@dataclass(eq=False)
class _Sent:
    """A call on its way."""

    method: str
    arguments: tuple[Any, ...]
    future: Future[Any]
    reference: Any = None
    losses: Losses = field(default_factory=Losses)
    machine: str | None = None
    """Where it was sent on purpose."""


class RayEngine:
    """See `pipelines.engines.Engine`."""

    def __init__(
        self, config: BuildConfig, work: Path, told: RayConfig, workers: int | None, say: Callable[[str], None]
    ) -> None:
        """`workers`: calls at once, at most, others are held; and processors of a cluster that is started here.

        Raises:
            UsageError: Ray is not installed, or the address is none.
        """
        self._config, self._work, self._told, self._most, self._say = config, work.absolute(), told, workers, say
        self._ray = ray_module()
        self._address = checked_address(told.address)
        self._token = f".engine-{secrets.token_hex(8)}.tmp"
        self._options: dict[str, dict[str, Any]] = {}
        self._open: set[_Sent] = set()
        self._under_way = 0
        self._held: deque[_Sent] = deque()
        """Calls beyond `workers`; the lock is for these two."""
        self._lock = threading.Lock()
        self._arrived: queue.SimpleQueue[tuple[_Sent, Future[Any] | None] | None] = queue.SimpleQueue()
        """Calls with what came of them, None where it is time to send one again; None alone is the end."""
        self._again = 0
        self._looked = -_LOOK_SECONDS
        self._machines: dict[str, dict[str, float]] = {}
        self._past = Machines()

    def __enter__(self) -> Self:
        self._ours = connect(self._ray, self._address, self._most)
        write_atomic(self._work / self._token, b"")
        self._told_workers = self._pickled()
        self._settler = threading.Thread(target=self._settle, name="settle", daemon=True)
        self._settler.start()
        return self

    def _pickled(self) -> bytes:
        from pipelines.engines.ray_task import Told, versions

        return pickle.dumps(Told(self._config, self._work, self._token, versions()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._arrived.put(None)
        self._settler.join()
        (self._work / self._token).unlink(missing_ok=True)
        if self._ours:  # with it goes what is under way
            self._ray.shutdown()
            return
        for sent in list(self._open):
            if sent.reference is not None:
                self._ray.cancel(sent.reference, force=True)

    @property
    def workers(self) -> int:
        """Calls at once, as far as the cluster's processors go."""
        self._look()
        needed = self._told.build.cpus
        places = sum(int(machine.get("CPU", 0) / needed) for machine in self._machines.values())
        return max(1, min(places, self._most or places))

    def _look(self) -> None:
        """Count the machines, now and then."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._machines = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}

    def note(self) -> str:
        """Workers, machines, and calls that were sent again."""
        workers = self.workers
        machines = sum(machine.get("CPU", 0) > 0 for machine in self._machines.values())
        again = f", {self._again} sent again" if self._again else ""
        return f"{workers} workers on {machines} machine{'s' if machines != 1 else ''}{again}"

    def map(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None = None) -> Iterator[Any]:
        """See `Engine.map`."""
        return results(partial(self.submit, method), lambda: self.workers, inputs, lost)

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """See `Engine.submit`; the future raises WorkerLostError where every worker that took the call has ended."""
        sent = _Sent(method, arguments, Future())
        sent.future.set_running_or_notify_cancel()
        self._open.add(sent)
        with self._lock:
            held = self._most is not None and self._under_way >= self._most
            if held:
                self._held.append(sent)
            else:
                self._under_way += 1
        if not held:
            self._send(sent)
        return sent.future

    def _send(self, sent: _Sent) -> None:
        if sent.method not in self._options:
            self._options[sent.method] = self._needed(sent.method)
        options = self._options[sent.method]
        sent.machine = self._past.another(self._suited(self._told.needs(sent.method)), sent.losses)
        if sent.machine is not None:
            chosen = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            options = options | {"scheduling_strategy": chosen(sent.machine, soft=True)}
        sent.reference = self._remote.options(**options).remote(self._told_workers, sent.method, sent.arguments)
        sent.reference.future().add_done_callback(lambda done: self._arrived.put((sent, done)))

    @cached_property
    def _remote(self) -> Any:
        """The remote function for all methods."""
        from pipelines.engines.ray_task import call

        return self._ray.remote(call)

    def _suited(self, needs: StageNeeds) -> list[str]:
        """Machines that could carry such a call."""
        self._look()
        return [name for name, machine in self._machines.items() if suited(machine, needs)]

    def _needed(self, method: str) -> dict[str, Any]:
        """What Ray is told of a method's calls."""
        needs = self._told.needs(method)
        if not self._suited(needs):
            self._say(f"no machine of the cluster has {_in_words(needs)}, as {method!r} needs: waiting until one has")
        options: dict[str, Any] = {"num_cpus": needs.cpus, "max_retries": 0, "name": f"slvr {method}"}
        if needs.memory_gb is not None:
            options["memory"] = int(needs.memory_gb * 2**30)
        if needs.resources:
            options["resources"] = needs.resources
        return options

    def _settle(self) -> None:
        """A thread of its own: Ray's must not wait for anything."""
        while (item := self._arrived.get()) is not None:
            sent, done = item
            try:
                if done is None:
                    self._send(sent)
                else:
                    self._settled(sent, done)
            except Exception as error:  # the cluster is gone; whoever waits for the call has to know
                self._open.discard(sent)
                sent.future.set_exception(error)
            if sent not in self._open:
                self._go_on()

    def _go_on(self) -> None:
        """A call has ended: one that was held takes its place."""
        while True:
            with self._lock:
                if not self._held:
                    self._under_way -= 1
                    return
                sent = self._held.popleft()
            try:
                self._send(sent)
                return
            except Exception as error:  # as above
                self._open.discard(sent)
                sent.future.set_exception(error)

    def _settled(self, sent: _Sent, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None and self._gone(error):
            if self._sent_later(sent, error):
                return
        else:
            self._past.note(sent.machine, lost=False)
        self._open.discard(sent)
        if error is None:
            sent.future.set_result(done.result())
        else:
            sent.future.set_exception(self._explained(sent, error))

    def _sent_later(self, sent: _Sent, error: BaseException) -> bool:
        """Count a loss; whether the call is sent once more, after a pause."""
        known = self._ray.exceptions
        if isinstance(error, known.WorkerCrashedError | known.OutOfMemoryError):
            where = next((name for name in self._machines if name in str(error)), sent.machine)
            sent.losses.count(machine_gone=False, on=where)
            self._past.note(where, lost=True)
        else:
            sent.losses.count(machine_gone=True, on=None)
        if sent.losses.too_many(self._told.attempts):
            return False
        self._again += 1
        waiting = threading.Timer(sent.losses.pause, self._arrived.put, [(sent, None)])
        waiting.daemon = True
        waiting.start()
        return True

    def _gone(self, error: BaseException) -> bool:
        """Whether the worker, its machine, or what it had made is gone."""
        known = self._ray.exceptions
        gone = (known.WorkerCrashedError, known.NodeDiedError, known.LocalRayletDiedError, known.OutOfMemoryError)
        return isinstance(error, (*gone, known.ObjectLostError))

    def _explained(self, sent: _Sent, error: BaseException) -> BaseException:
        """What whoever waits for the call is told."""
        if self._gone(error):
            why = "out of memory" if isinstance(error, self._ray.exceptions.OutOfMemoryError) else "killed or crashed"
            what = named(sent.method, sent.arguments)
            lost = WorkerLostError(f"{what} {sent.losses.told()} that took it ({why})")
            self._say(str(lost))
            return lost
        if isinstance(error, self._ray.exceptions.RayTaskError):
            return _told_by(error, error.cause)
        if isinstance(error, self._ray.exceptions.RayError):
            return RunError(f"Ray could not carry a call: {' '.join(str(error).split())[:300]}")
        return error


def _told_by(error: BaseException, cause: BaseException) -> BaseException:
    """What a worker raised; with its machine, where that decides what is to be done."""
    address = _ADDRESS.search(str(error))
    where = f"the worker on {address[1]}" if address else "a worker"
    text = str(cause).strip() or type(cause).__name__
    if isinstance(cause, ImportError) or text.startswith(_NOT_LOADED):
        return RunError(
            f"{where} cannot load slvr ({text.splitlines()[-1].strip()}): install the same versions on all machines, "
            "in the Python whose `ray start` is run"
        )
    if isinstance(cause, RefusedError | StoreError):
        return type(cause)(f"{where}: {cause} (workers have the environment that `ray start` had on their machine)")
    return cause


def suited(machine: dict[str, float], needs: StageNeeds) -> bool:
    """Whether a machine with those resources, as Ray counts them, could ever carry such a call."""
    memory = (needs.memory_gb or 0) * 2**30
    wanted = needs.resources | {"CPU": needs.cpus, "memory": memory}
    return all(machine.get(name, 0) >= amount for name, amount in wanted.items())


def _in_words(needs: StageNeeds) -> str:
    memory = f" and {needs.memory_gb:g} GB" if needs.memory_gb else ""
    others = "".join(f" and {amount:g} of {name}" for name, amount in needs.resources.items())
    return f"{needs.cpus:g} processor{'s' if needs.cpus != 1 else ''}{memory}{others}"
