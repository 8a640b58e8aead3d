"""Starts processes, restarts those that end or hang, passes signals on, stops all in order (master(8)). Parses no mail.

One thread, no event loop: so it can fork at any time.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pymta.errors import PymtaError
from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.runtime.processes import Channel, Child, Message, fork

START_SECONDS = 60.0
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
_HEALTHY_SECONDS = 20.0


# A message, and descriptors that go with it.
Question = tuple[Message, Sequence[int]]


class RoleFailed(PymtaError):
    """A process could not start; the text says why."""


@frozen
class Role:
    """What one process does. `start` and `stop` are its places in the order; those with one place go together.

    `main` runs in the child and gets its channel: it says `{"op": "ready"}`, or `{"op": "failed", "text": ...}`
    and ends; at `{"op": "stop"}` or the channel's end it ends. One that serves clients says `{"op": "waiting"}` first
    and is ready after `{"op": "open"}`, which comes when every role is up. `{"op": "ping"}` wants `{"op": "pong"}`.
    `restarted` tells it that it had a predecessor.
    """

    name: str
    main: Callable[[Channel, bool], int]
    start: int
    stop: int


@dataclass(slots=True)
class _Place:
    """A role and the process that fills it at the moment."""

    role: Role
    child: Child | None = None
    is_ready: bool = False
    is_waiting: bool = False
    started: float = 0.0
    # When we asked for a sign of life that has not come yet.
    asked: float | None = None
    restarts: int = 0
    delay: float = _FIRST_DELAY
    due: float = 0.0
    failure: str = ""
    answers: list[Message] = field(default_factory=list)


class Supervisor:
    """`handle` gets what a role says that is not about its own life, and `{"op": "reload"}` of nobody for SIGHUP.

    A process whose event loop gives no sign of life for `watchdog_seconds` is killed; 0 turns that off.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        log: Log,
        *,
        handle: Callable[[str, Message], None],
        drain_seconds: float = 15.0,
        watchdog_seconds: float = 0.0,
    ) -> None:
        self._places = [_Place(role) for role in roles]
        self._log = log
        self._handle = handle
        self._drain_seconds = drain_seconds
        self.watchdog_seconds = watchdog_seconds
        self._last_look = 0.0
        self._selector = selectors.DefaultSelector()
        self._wakeup_reader, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._signals: list[int] = []
        self._is_stopping = False
        self._requests: list[tuple[str, Message]] = []
        self._is_up = False

    # -- life

    def start(self, open_doors: Callable[[], None] = lambda: None) -> None:
        """Start every role and wait until it is ready; raises RoleFailed, and then nothing is left running.

        `open_doors` is called when all are up and only those wait that serve clients.
        """
        self._selector.register(self._wakeup_reader, selectors.EVENT_READ, self._drain_wakeups)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda caught, frame: self._signals.append(caught))
        try:
            for order in sorted({place.role.start for place in self._places}):
                self._start_together([place for place in self._places if place.role.start == order])
            if not self._is_stopping:
                open_doors()
                self._open_waiting()
            self._is_up = True
        except BaseException:
            self.stop(drain_seconds=1.0)
            raise

    def _start_together(self, places: Sequence[_Place]) -> None:
        for place in places:
            self._fork(place)
        self._until(places, lambda place: place.is_ready or place.is_waiting)

    def _open_waiting(self) -> None:
        waiting = [place for place in self._places if place.is_waiting]
        for place in waiting:
            self._let_open(place)
        self._until(waiting, lambda place: place.is_ready)

    def _let_open(self, place: _Place) -> None:
        place.is_waiting = False
        if place.child is not None:
            place.child.channel.send({"op": "open"})

    def _until(self, places: Sequence[_Place], is_there: Callable[[_Place], bool]) -> None:
        """Wait for all of `places`; raises RoleFailed for any process that ended, or when the time is over."""
        begun = [place for place in self._places if place.started]
        deadline = time.monotonic() + START_SECONDS
        while not all(is_there(place) for place in places) and not self._is_stopping:
            failed = [place for place in begun if place.child is None]
            if time.monotonic() > deadline:
                failed += [place for place in places if not is_there(place)]
            if failed:
                raise RoleFailed(failed[0].failure or f"the {failed[0].role.name} process did not start")
            self._turn(deadline, restart=False)

    def serve(self) -> None:
        """Return when asked to stop: by a signal or `request_stop`."""
        while not self._is_stopping:
            self._turn(min((place.due for place in self._places if place.child is None), default=None))
            requests, self._requests = self._requests, []
            for name, message in requests:
                self._handle(name, message)

    def request_stop(self) -> None:
        self._is_stopping = True

    def stop(self, drain_seconds: float | None = None) -> None:
        """End every role in its turn; one that takes longer than the drain time is killed."""
        self._is_stopping = True
        limit = self._drain_seconds if drain_seconds is None else drain_seconds
        for order in sorted({place.role.stop for place in self._places}):
            places = [place for place in self._places if place.role.stop == order and place.child is not None]
            self._end(places, time.monotonic() + limit)

    def _end(self, places: Sequence[_Place], deadline: float) -> None:
        for place in places:
            if place.child is not None:
                place.child.channel.send({"op": "stop"})
        while any(place.child for place in places):
            if time.monotonic() >= deadline:
                for place in places:
                    if place.child is not None:
                        self._log.warning(f"process {place.role.name} pid {place.child.pid} does not end; killing it")
                        place.child.kill()
                deadline = time.monotonic() + 5.0
            self._turn(deadline, restart=False)

    # -- what others ask

    def pids(self) -> dict[str, int]:
        return {place.role.name: place.child.pid for place in self._places if place.child is not None}

    def kill_unready(self) -> None:
        """End what is only starting: it is started anew, with what is known now."""
        for place in self._places:
            if place.child is not None and not place.is_ready:
                place.child.kill()

    def tell(self, name: str, message: Message) -> None:
        for place in self._places:
            if place.role.name == name and place.child is not None:
                place.child.channel.send(message)

    def ask_all(self, question: Callable[[Role], Question], *, seconds: float) -> list[tuple[Role, Message | None]]:
        """What each running role answers to its question; None where it ended instead, or took more than `seconds`."""
        asked = [place for place in self._places if place.child is not None and place.is_ready]
        for place in asked:
            place.answers.clear()
            if place.child is not None:
                place.child.channel.send(*question(place.role))
        deadline = time.monotonic() + seconds
        pending = list(asked)
        while pending and time.monotonic() < deadline and not self._is_stopping:
            self._turn(deadline, restart=False)
            pending = [place for place in pending if not place.answers and place.child is not None]
        return [(place.role, place.answers.pop() if place.answers else None) for place in asked]

    # -- one turn

    def _turn(self, until: float | None, *, restart: bool = True) -> None:
        until = self._next_look(until)
        timeout = None if until is None else max(0.0, until - time.monotonic())
        for key, _ in self._selector.select(timeout):
            key.data()
        self._look_for_life()
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGHUP:
                self._requests.append(("", {"op": "reload"}))
            else:
                self._is_stopping = True
        if restart and not self._is_stopping:
            now = time.monotonic()
            for place in self._places:
                if place.child is None and place.due <= now:
                    self._fork(place)

    def _next_look(self, until: float | None) -> float | None:
        """When to wake up, so that nobody is looked after too late."""
        if not self.watchdog_seconds:
            return until
        look = self._last_look + self.watchdog_seconds / 4
        return look if until is None else min(look, until)

    def _look_for_life(self) -> None:
        """Ask who is ready for a sign of life; kill who gave none. Who is only starting has START_SECONDS for it."""
        now, limit = time.monotonic(), self.watchdog_seconds
        if not limit or self._is_stopping or now < self._last_look + limit / 4:
            return
        # Where we slept too (a stopped machine), nobody could answer.
        was_asleep, self._last_look = now > self._last_look + limit / 2, now
        for place in self._places:
            if place.child is None:
                continue
            if not place.is_ready:
                if self._is_up and now > place.started + max(START_SECONDS, limit):
                    self._kill_hanging(place, place.child, now - place.started)
            elif place.asked is None:
                place.asked = now
                place.child.channel.send({"op": "ping"})
            elif was_asleep:
                place.asked = now
            elif now > place.asked + limit:
                self._kill_hanging(place, place.child, now - place.asked)

    def _kill_hanging(self, place: _Place, child: Child, seconds: float) -> None:
        self._log.warning(
            f"process {place.role.name} pid {child.pid} gave no sign of life for {seconds:.0f} s; killing it"
        )
        child.kill()
        place.asked = None

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup_reader, 4096)

    def _fork(self, place: _Place) -> None:
        role, restarted = place.role, place.restarts > 0
        child = fork(role.name, lambda channel: role.main(channel, restarted), self._own_descriptors)
        place.child, place.is_ready, place.started = child, False, time.monotonic()
        place.failure, place.asked, place.is_waiting = "", None, False
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._ended(place, child))
        self._selector.register(child.channel.fileno(), selectors.EVENT_READ, lambda: self._heard(place, child))

    def _own_descriptors(self) -> list[int]:
        """What a child inherits and must not keep: as long as it holds another's channel, that one's end shows not."""
        descriptors = [self._wakeup_reader, self._wakeup_writer]
        for place in self._places:
            if place.child is not None:
                descriptors += [place.child.pidfd, place.child.channel.fileno()]
        self._selector.close()
        return descriptors

    def _heard(self, place: _Place, child: Child) -> None:
        """Take all that a role has said; at the end of its channel there is nothing more to wait for."""
        while True:
            try:
                received = child.channel.receive()
            except BlockingIOError:
                return
            if received is None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(child.channel.fileno())
                return
            message, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            self._note(place, message)

    def _note(self, place: _Place, message: Message) -> None:
        operation = message.get("op")
        if operation == "ready":
            place.is_ready = True
        elif operation == "waiting":
            place.is_waiting = True
            if self._is_up:
                self._let_open(place)
        elif operation == "pong":
            place.asked = None
        elif operation == "failed":
            place.failure = str(message.get("text", ""))
        elif operation == "answer":
            place.answers.append(message)
        else:
            self._requests.append((place.role.name, message))

    def _ended(self, place: _Place, child: Child) -> None:
        self._heard(place, child)
        for descriptor in (child.pidfd, child.channel.fileno()):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(descriptor)
        how = child.reap()
        place.child, place.is_ready = None, False
        if self._is_stopping or not self._is_up:
            return
        now = time.monotonic()
        if now - place.started >= _HEALTHY_SECONDS:
            place.delay = _FIRST_DELAY
        place.due = now + place.delay
        place.restarts += 1
        cause = f": {place.failure}" if place.failure else ""
        self._log.warning(f"process {place.role.name} pid {child.pid} {how}{cause}; next start in {place.delay:g} s")
        place.delay = min(place.delay * 2, _LONGEST_DELAY)
