"""A faithful local Braze: its segment endpoints over invented data, for tests, benchmarks and demos."""

from ._faults import Answer, Endpoint, LoggedRequest
from ._server import Sandbox

__all__ = ["Answer", "Endpoint", "LoggedRequest", "Sandbox"]
