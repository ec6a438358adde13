"""The version, read by the build and by `voicetone --version`."""

__version__ = "0.1.0"
