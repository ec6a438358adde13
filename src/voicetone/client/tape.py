"""The newest audio of a call, kept until the server is known to have analysed it."""

from __future__ import annotations

from voicetone.errors import UsageError


class Tape:
    """Bytes of audio from sample `start` to sample `end` of the call.

    Args:
        frame_bytes: of one sample of all channels.
        most: samples per channel that are kept; more are not taken.
    """

    def __init__(self, frame_bytes: int, most: int) -> None:
        self._frame, self._most = frame_bytes, max(most, 1)
        self._data = bytearray()
        self.start = 0

    @property
    def end(self) -> int:
        """The sample after the newest one."""
        return self.start + len(self._data) // self._frame

    @property
    def room(self) -> int:
        """Bytes that may be added now."""
        return max(self._most * self._frame - len(self._data), 0)

    def add(self, data: bytes | memoryview) -> None:
        """Append whole samples, no more than there is room for.

        Raises:
            UsageError: part of a sample.
        """
        if len(data) % self._frame:
            raise UsageError(
                f"{len(data)} bytes are not whole samples of all channels: "
                f"send a multiple of {self._frame}"
            )
        self._data += data

    def forget(self, sample: int) -> None:
        """The audio before this sample is not needed any more."""
        count = min(max(sample - self.start, 0), len(self._data) // self._frame)
        del self._data[: count * self._frame]
        self.start += count

    def read(self, sample: int, most: int) -> bytes:
        """Up to `most` samples from `sample` on, which must lie on the tape."""
        first = (sample - self.start) * self._frame
        return bytes(self._data[first : first + most * self._frame])
