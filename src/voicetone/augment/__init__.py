"""Transforms of audio, one file each: `(Waveform, Generator) -> Waveform`.

Each draws its parameters from the generator it is given and then applies them, so that a seed
fixes what comes out.
"""
