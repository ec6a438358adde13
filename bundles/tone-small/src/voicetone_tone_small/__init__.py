"""Weights for voicetone: `bundle.json` and the ONNX graphs that it names, and no code."""
