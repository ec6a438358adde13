"""Audio in: files, folders, pipes and telephone codings → float samples at the models' rate."""

from voicetone.audio.decode import AudioSource, RawFormat, open_audio, read_audio
from voicetone.audio.find import find_audio
from voicetone.audio.resample import StreamResampler

__all__ = [
    "AudioSource",
    "RawFormat",
    "StreamResampler",
    "find_audio",
    "open_audio",
    "read_audio",
]
