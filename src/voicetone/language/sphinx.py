"""English words by pocketsphinx, whose model is in its package: no network, no download.

D. Huggins-Daines et al., PocketSphinx: A Free, Real-Time Continuous Speech Recognition System for
Hand-Held Devices, ICASSP 2006. It is small and of its time: count on many wrong words.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from voicetone.errors import MissingExtraError
from voicetone.language.answers import Spoken
from voicetone.types import Waveform

RATE = 16_000  # Hz, of the model
SHORTEST = 0.1  # s; less gives no frame to decode
SILENT = 1e-3  # of full scale, -60 dB: in less the decoder hears words that nobody said
NO_WORD = ("<", "[", "+")  # begin the names of silence and noise


class SphinxTranscriber:
    """Pocketsphinx with the US English model of its package.

    Every utterance is decoded on its own: what the decoder has learnt of the last one's features
    is forgotten, so nothing depends on what was heard before.

    Raises:
        MissingExtraError: the package is not installed.
    """

    languages = ("en",)

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ModuleNotFoundError:
            raise MissingExtraError("transcripts by pocketsphinx", "label") from None
        self.source = f"pocketsphinx {version('pocketsphinx')} en-us"
        self._decoder: Any = Decoder(samprate=float(RATE), cmn="batch", loglevel="FATAL")

    def transcribe(self, sound: Waveform, language: str | None) -> Spoken:
        """The words, and the mean of their posterior probabilities."""
        if sound.duration < SHORTEST:
            return Spoken(problem="shorter than 0.1 s")
        samples = sound.mono().resample(RATE).samples[0]
        if float(np.abs(samples).max()) < SILENT:
            return Spoken(problem="silent")
        pcm = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(pcm, full_utt=True)
        finally:
            self._decoder.end_utt()
        found = self._decoder.hyp()
        if found is None or not found.hypstr.strip():
            return Spoken(problem="no words heard")
        words = [part.prob for part in self._decoder.seg() if not part.word.startswith(NO_WORD)]
        confidence = min(float(np.mean(words)), 1.0) if words else 0.0
        return Spoken(found.hypstr.strip(), confidence)
