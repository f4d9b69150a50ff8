"""Connections: a client has so long to send a request, and there is room for so many at once.

Uvicorn waits for ever for a request that does not come, and for a client that does not read. Here
the slow are cut off, and when all places are taken, whoever has waited longest without having asked
for anything makes room: so that those who do ask are served, however many only hold the line.
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fspo.web.guards import HEADERS, MOST_HEADERS, error_body

_READ = 10_000  # bytes, that a client takes at least before it is looked at again


class Connection(H11Protocol):
    """A connection with time limits.

    Attributes:
        most: how many there may be at once.
        asking: seconds until the headers of a request are there.
        sending: seconds until its body is.
        reading: seconds for the client to take some of what waits for it.
    """

    most = 1000
    asking, sending, reading = 10.0, 60.0, 60.0

    _awaited: object = None  # of the client: h11.IDLE is headers, h11.SEND_BODY a body
    _clock: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _since = 0.0
    _dropped = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a request, if there is a place."""
        super().connection_made(transport)
        self._wait()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        super().connection_lost(exc)
        for clock in (self._clock, self._stuck):
            if clock:
                clock.cancel()

    def data_received(self, data: bytes) -> None:
        """Waits for the rest, if there is one to come."""
        super().data_received(data)
        self._wait()

    def pause_writing(self) -> None:
        """The client does not read, or is slow about it."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """It does read."""
        super().resume_writing()
        if self._stuck:
            self._stuck.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, once, in the form of all refusals."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        status = 431 if len(self.conn.trailing_data[0]) > MOST_HEADERS else 400
        told = "the headers are too long" if status == 431 else "this is no HTTP request"
        headers = {"content-type": "application/json", "connection": "close"} | HEADERS
        body = json.dumps(error_body(status, told)).encode()
        for event in (
            h11.Response(status_code=status, headers=list(headers.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_reading(self) -> None:
        waits = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() > waits - _READ:
                self.transport.abort()
            else:
                self._watch_reading()

        self._stuck = self.loop.call_later(self.reading, look)

    def _wait(self) -> None:
        """Starts another clock where the client now has something else to do."""
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        if self._clock:
            self._clock.cancel()
        self._awaited, self._since = awaited, self.loop.time()
        seconds = {h11.IDLE: self.asking, h11.SEND_BODY: self.sending}.get(awaited)
        self._clock = self.loop.call_later(seconds, self.transport.abort) if seconds else None

    def _make_room(self) -> None:
        if len(self.connections) <= self.most:
            return
        there = [c for c in self.connections if isinstance(c, Connection) and not c._dropped]
        if len(there) > self.most:
            waiting = [c for c in there if not c._is_served()]
            # This one, where all others are being served.
            last = min(waiting, key=lambda c: c._since, default=self)
            last._dropped = True
            last.transport.abort()

    def _is_served(self) -> bool:
        return self.conn.their_state not in (h11.IDLE, h11.SEND_BODY) and not (
            self.transport.is_closing()
        )
