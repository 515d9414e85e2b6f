"""The version, in its one place: the build reads it from here, and so does the User-Agent."""

__version__ = "0.2.0"
