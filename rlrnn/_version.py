"""The package's version, apart from all that it would have to import."""

__version__ = "0.1.0"
