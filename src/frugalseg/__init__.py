"""frugalseg: segment microscopy images from few annotations on small machines."""

__version__ = "0.1.0"
__all__ = ["__version__"]
