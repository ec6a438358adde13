"""Readers: a corpus folder becomes a `Manifest` of `Utterance`s with provenance."""
