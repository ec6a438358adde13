"""Model bundles: found, verified and loaded."""

from voicetone.pretrained.bundle import installed, load, verify
from voicetone.pretrained.predictor import OnnxPredictor, Predictor
from voicetone.pretrained.spec import BundleSpec

__all__ = ["BundleSpec", "OnnxPredictor", "Predictor", "installed", "load", "verify"]
