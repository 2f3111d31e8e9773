"""Read softpack archives of soft labels."""

from .archive import Archive
from .archive import open_archive as open
from .errors import SoftpackError
from .images import open_images
from .tokens import open_tokens

__all__ = ["Archive", "SoftpackError", "open", "open_images", "open_tokens"]
__version__ = "0.1.0"
