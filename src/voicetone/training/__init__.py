"""Protocols, loops and runs: everything that makes a model."""
