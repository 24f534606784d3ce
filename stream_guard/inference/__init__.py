"""Inference: engine cards, the zoo, and sessions on the backends. Owns every package that runs a network, and onnx."""

from .backends import AUTO, BACKENDS, Backend, backend_names, backend_words, open_session
from .card import Card, Conditions, TensorSpec, load_card
from .choosing import choose_engine
from .session import Array, Session, check_finite
from .zoo import find_engine, list_engines, zoo_folder

__all__ = [
    "AUTO",
    "BACKENDS",
    "Array",
    "Backend",
    "Card",
    "Conditions",
    "Session",
    "TensorSpec",
    "backend_names",
    "backend_words",
    "check_finite",
    "choose_engine",
    "find_engine",
    "list_engines",
    "load_card",
    "open_session",
    "zoo_folder",
]
