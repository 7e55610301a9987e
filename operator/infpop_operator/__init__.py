"""The deciding side of InfPop: which configuration to measure next, where, and which one is best."""

__version__ = "0.1.0"
