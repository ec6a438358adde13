"""The same stream for programs without asyncio: its connection runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from voicetone.client.events import Closed, Created, Event
from voicetone.client.settings import Options, Sound
from voicetone.client.stream import AsyncStream

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")


class Stream:
    """A call in progress. Made by `open`; a context manager, which ends the call.

    `send` and iteration may be used by two threads, one each; a program with one thread sends and
    looks with `poll` at what has come.
    """

    def __init__(self, inner: AsyncStream, loop: _Loop) -> None:
        self._inner, self._loop = inner, loop

    @classmethod
    def open(
        cls, url: str, *, sample_rate: int, consent: bool, **options: Unpack[Options]
    ) -> Stream:
        """Begin a call; arguments and errors are those of `AsyncStream.open`."""
        loop = _Loop()
        try:
            opening = AsyncStream.open(url, sample_rate=sample_rate, consent=consent, **options)
            return cls(loop.run(opening), loop)
        except BaseException:
            loop.stop()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.cancel()

    @property
    def created(self) -> Created:
        """What the server said at the start."""
        return self._inner.created

    @property
    def resumed(self) -> int:
        """How often a cut connection was taken up again."""
        return self._inner.resumed

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until the call has ended; raises what `AsyncStream` raises."""
        while True:
            try:
                yield self._run(self._inner.__anext__())
            except StopAsyncIteration:
                return

    def poll(self) -> list[Event]:
        """The events that are there now, without waiting."""
        return self._run(self._polled())

    def send(self, sound: Sound) -> None:
        """Take more of the call's audio; see `AsyncStream.send`."""
        self._run(self._inner.send(sound))

    def update(
        self,
        *,
        call: str | None = None,
        queue: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Change what is said about the call; see `AsyncStream.update`."""
        self._run(self._inner.update(call=call, queue=queue, metadata=metadata))

    def send_transcript(
        self,
        text: str,
        start: float,
        end: float,
        *,
        channel: int = 1,
        final: bool = True,
        language: str | None = None,
    ) -> None:
        """Have words read that were said in the call; see `AsyncStream.send_transcript`."""
        self._run(
            self._inner.send_transcript(
                text, start, end, channel=channel, final=final, language=language
            )
        )

    def close(self) -> Closed:
        """Have the rest analysed and wait for the end; see `AsyncStream.close`.

        Events that nobody has read yet can still be read.
        """
        try:
            return self._run(self._inner.close())
        finally:
            self.cancel()  # where it was interrupted; a stream that has ended is only let go

    def cancel(self) -> None:
        """Leave at once; see `AsyncStream.cancel`."""
        self._run(self._inner.cancel())
        self._loop.stop()

    async def _polled(self) -> list[Event]:
        return self._inner.poll()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)


class _Loop:
    """An event loop in a thread; after its end, only what needs no waiting can be run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = threading.Thread(
            target=self._loop.run_forever, name="voicetone stream", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns or raises."""
        if self._thread is None:
            return _at_once(work)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()
        self._loop.close()


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a stream that has ended, so that it waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        work.close()
    raise AssertionError("a stream that has ended waits for nothing")
