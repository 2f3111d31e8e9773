"""Read softpack archives of soft labels."""

from .archive import Archive
from .archive import open_archive as open
from .errors import SoftpackError

__all__ = ["Archive", "SoftpackError", "open"]
__version__ = "0.1.0"
