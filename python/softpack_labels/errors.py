"""The one error of the package."""


class SoftpackError(Exception):
    """A failure that is foreseen. `code` is stable: INVALID_ARGUMENT, INVALID_FILE, CORRUPT_DATA, NOT_FOUND,
    INCOMPLETE, UNSUPPORTED, BACKEND_UNAVAILABLE, BUILD_FAILED, DEVICE_LOST or NATIVE_FAILED."""

    def __init__(self, code, message, field=None, expected=None, found=None):
        self.code = code
        self.field = field
        self.expected = expected
        self.found = found
        place = "" if field is None else f"{field}: "
        facts = [f"{name} {value}" for name, value in (("expected", expected), ("found", found)) if value is not None]
        super().__init__(f"{code}: {place}{message}" + (f" ({', '.join(facts)})" if facts else ""))
