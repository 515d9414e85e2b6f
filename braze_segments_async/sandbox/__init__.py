"""A local server that behaves like Braze's segment endpoints, for tests, benchmarks and demos."""

from ._faults import Answer, Endpoint, LoggedRequest
from ._server import Sandbox

__all__ = ["Answer", "Endpoint", "LoggedRequest", "Sandbox"]
