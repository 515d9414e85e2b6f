"""A faithful local Braze: its segment endpoints over invented data, for tests, benchmarks and demos."""

from braze_segments_async.sandbox.answers import Answer, Endpoint, LoggedRequest
from braze_segments_async.sandbox.server import Sandbox

__all__ = ["Answer", "Endpoint", "LoggedRequest", "Sandbox"]
