"""Protects faces in video against deepfake models, frame by frame, and proves it on the delivered video."""

__version__ = "0.1.0"
