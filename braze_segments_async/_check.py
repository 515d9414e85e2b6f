"""Build the report of `check()` from the results of one probe per permission. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import field, frozen

from ._http import DATA_SERIES, DETAILS, LIST, USERS, Endpoint
from ._instances import likely_mistake
from .errors import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    PermissionDeniedError,
    RateLimitedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._rate_limit import RateLimit

__all__ = ["UNKNOWN_SEGMENT", "CheckReport", "build_report", "is_conclusive"]

UNKNOWN_SEGMENT = "00000000-0000-0000-0000-000000000000"
_REMEDY = (
    "in the dashboard under Settings > APIs and Identifiers, create a key with all the permissions it needs "
    "(those of an existing key cannot be changed)"
)


@frozen(kw_only=True)
class CheckReport:
    """The result of `BrazeSegments.check`: the permissions of an API key at a REST endpoint.

    Attributes:
        base_url: REST endpoint that was tested.
        host: Whether Braze responded at that endpoint. A response that is not Braze's JSON, such as that of a
            proxy, does not count, and shows nothing about the key or its permissions.
        key: Whether Braze accepts the key; `None` if unknown.
        permissions: Whether the key has each permission, by its name; `None` if unknown.
        rate_limit: Rate limit from the most recent response, if it had one.
        problems: One sentence for each problem, with its remedy.
    """

    base_url: str
    host: bool
    key: bool | None
    permissions: Mapping[str, bool | None] = field(hash=False)
    rate_limit: RateLimit | None
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """True if the key can export segments with details (`segments.list` and `segments.details`)."""
        return all(self.permissions[endpoint.permission] for endpoint in (LIST, DETAILS))


def build_report(
    base_url: str, outcomes: Mapping[Endpoint, BrazeError | None], rate_limit: RateLimit | None
) -> CheckReport:
    """Combine the results of the probes.

    Args:
        base_url: REST endpoint that was tested.
        outcomes: Error of each probe, `None` for a success. Endpoints that were not tried are absent.
        rate_limit: Rate limit from the most recent response.

    Returns:
        The report.
    """
    known = any(
        error is None or (is_conclusive(endpoint, error) and not isinstance(error, AuthenticationError))
        for endpoint, error in outcomes.items()
    )
    refused = any(
        isinstance(error, AuthenticationError) and is_conclusive(endpoint, error)
        for endpoint, error in outcomes.items()
    )
    permissions: dict[str, bool | None] = dict.fromkeys(
        endpoint.permission for endpoint in (LIST, DETAILS, DATA_SERIES, USERS)
    )
    for endpoint, error in outcomes.items():
        permissions[endpoint.permission] = _granted(endpoint, error, known=known)
    key = True if known else False if refused else None
    return CheckReport(
        base_url=base_url,
        host=known
        or refused
        or any(isinstance(error, RateLimitedError) and error.from_braze for error in outcomes.values()),
        key=key,
        permissions=permissions,
        rate_limit=rate_limit,
        problems=_problems(key, permissions, outcomes, likely_mistake(urlsplit(base_url).hostname or "")),
    )


def is_conclusive(endpoint: Endpoint, error: BrazeError) -> bool:
    """Return whether an error shows something about the key: Braze's own 401, 403, or expected 400.

    Braze answers 400 for a segment that does not exist, so only requests about a segment can get it. After
    any other error, the next probe would most likely fail, too.
    """
    if isinstance(error, BadRequestError):
        return error.from_braze and endpoint != LIST
    return isinstance(error, AuthenticationError | PermissionDeniedError) and error.from_braze


def _granted(endpoint: Endpoint, error: BrazeError | None, *, known: bool) -> bool | None:
    if error is None:
        return True
    if not is_conclusive(endpoint, error):
        return None
    if isinstance(error, BadRequestError):
        return True
    # Braze has been reported to return 401 for a missing permission, too, for a key that it recognises.
    if isinstance(error, PermissionDeniedError) or (known and isinstance(error, AuthenticationError)):
        return False
    return None


def _problems(
    key: bool | None,  # noqa: FBT001 - private, and one of three values
    permissions: Mapping[str, bool | None],
    outcomes: Mapping[Endpoint, BrazeError | None],
    mistake: str,
) -> tuple[str, ...]:
    problems = []
    if key is False:
        problems.append(
            "Braze does not accept the key: check that it is complete and listed in the dashboard under "
            f"Settings > APIs and Identifiers, and that the REST endpoint is that of its cluster{mistake}"
        )
    # Few keys need to read users, so that permission is never reported as missing.
    missing = [name for name, granted in permissions.items() if granted is False and name != USERS.permission]
    if missing:
        problem = f"the key lacks {' and '.join(missing)}"
        if missing == [DATA_SERIES.permission]:
            problem += ", which only size histories need"
        problems.append(f"{problem}: {_REMEDY}")
    for endpoint, error in outcomes.items():
        if isinstance(error, RateLimitedError) and error.from_braze:
            when = f"before {error.resets_at:%Y-%m-%d %H:%M:%S} UTC" if error.resets_at else "now"
            problems.append(f"the workspace's rate limit allows no request {when}: check again later")
        elif error is not None and not is_conclusive(endpoint, error):
            problems.append(str(error))
    return tuple(problems)
