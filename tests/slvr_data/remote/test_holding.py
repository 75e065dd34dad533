"""One driver of a set at an address, whatever clocks say."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid

import pytest

from slvr_data.errors import UsageError
from slvr_data.remote.holding import NAME, Holding, LostError, holder
from slvr_data.remote.place import Place

BEAT = 0.05


@pytest.fixture
def place() -> Place:
    return Place(f"memory://{uuid.uuid4().hex}/set")


def elsewhere(place: Place, **told: object) -> None:
    """Make the holder one of another machine."""
    tree = json.loads(place.read(NAME)) | {"where": "another boot", "host": "far"} | told
    place.write(NAME, json.dumps(tree).encode())


def test_a_holder_elsewhere_that_does_not_move_is_taken_over_and_one_that_does_is_not(place: Place) -> None:
    said: list[str] = []
    first = Holding(place, said.append, BEAT)
    first.take()
    assert holder(place) == f"process {os.getpid()} on {socket.gethostname()}"
    elsewhere(place)
    assert str(holder(place)).startswith(f"last written by process {os.getpid()} on far; only there")
    second = Holding(place, said.append, BEAT)
    second.take()
    assert second.before == first.session
    assert said[-1].startswith("taking over from process")
    elsewhere(place)
    stop = threading.Event()

    def beats() -> None:
        number = 100
        while not stop.wait(BEAT / 2):
            number += 1
            elsewhere(place, beat=number)

    beating = threading.Thread(target=beats)
    beating.start()
    try:
        with pytest.raises(UsageError, match=r"memory://.*/set is being written by process \d+ on far: wait for it"):
            Holding(place, said.append, 10 * BEAT).take()  # it watches for so long that a busy machine shows a beat
    finally:
        stop.set()
        beating.join()


def test_the_waiting_is_by_the_holders_own_interval(place: Place) -> None:
    Holding(place, print, 0.2).take()
    elsewhere(place)
    started = time.monotonic()
    Holding(place, print, 0.01).take()
    assert time.monotonic() - started > 0.2 * 3


def test_a_dead_process_of_this_machine_is_taken_over_at_once(place: Place) -> None:
    Holding(place, print, 1000.0).take()
    tree = json.loads(place.read(NAME))
    place.write(NAME, json.dumps(tree | {"born": "0"}).encode())  # the number was given to another process since
    assert holder(place) is None
    said: list[str] = []
    Holding(place, said.append, BEAT).take()
    assert [line.split(" from ")[0] for line in said] == ["taking over"]


def test_one_that_was_held_up_finds_itself_replaced_and_leaves_the_other_alone(place: Place) -> None:
    first = Holding(place, print, BEAT)
    first.take()
    elsewhere(place)
    second = Holding(place, print, BEAT)
    second.take()
    time.sleep(BEAT)
    with pytest.raises(LostError, match=r"is now written by process"):
        first.beat()
    first.release()
    assert json.loads(place.read(NAME))["session"] == second.session
    assert holder(place) is not None
    second.release()
    assert holder(place) is None


def test_of_two_that_begin_at_the_same_moment_one_stays(place: Place) -> None:
    started = threading.Barrier(2)
    taken: list[str] = []
    refused: list[Exception] = []

    def one() -> None:
        mine = Holding(place, print, 1000.0)
        started.wait()
        try:
            mine.take()
            taken.append(mine.session)
        except (LostError, UsageError) as error:
            refused.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert len(refused) == 1


def test_a_damaged_object_is_nobodys(place: Place) -> None:
    place.write(NAME, b"\x00 no json")
    mine = Holding(place, print, BEAT)
    mine.take()
    mine.release(forget=True)
    assert not place.exists(NAME)
