"""Model bundles: found, verified and loaded."""

from voicetone.pretrained.bundle import installed, load, verify
from voicetone.pretrained.predictor import OnnxPredictor, Predictor
from voicetone.pretrained.spec import BundleSpec
from voicetone.pretrained.window_predictor import WindowPredictor

__all__ = [
    "BundleSpec",
    "OnnxPredictor",
    "Predictor",
    "WindowPredictor",
    "installed",
    "load",
    "verify",
]
