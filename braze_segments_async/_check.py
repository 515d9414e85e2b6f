"""Turn the outcomes of one probe for each permission into a report on the key. No I/O."""

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

__all__ = ["CONCLUSIVE_ERRORS", "UNKNOWN_SEGMENT", "CheckReport", "report_of"]

UNKNOWN_SEGMENT = "00000000-0000-0000-0000-000000000000"
# Errors that say something of the key; after any other, the next request would most likely meet the same.
CONCLUSIVE_ERRORS = (BadRequestError, AuthenticationError, PermissionDeniedError)
_KEY_RECOGNISED_ERRORS = (BadRequestError, PermissionDeniedError)
_REMEDY = (
    "in the dashboard under Settings > API Keys, create a key with all the permissions it needs "
    "(those of an existing key cannot be changed)"
)


@frozen(kw_only=True)
class CheckReport:
    """What a key can do at an endpoint.

    Attributes:
        base_url: the REST endpoint that was asked.
        host: whether Braze answered there.
        key: whether it accepts the key; `None` if that could not be found out.
        permissions: by name, whether the key has it; `None` if that could not be found out.
        rate_limit: the allowance, if Braze told it.
        problems: what is wrong or missing, and what to do about it; a sentence each.
    """

    base_url: str
    host: bool
    key: bool | None
    permissions: Mapping[str, bool | None] = field(hash=False)
    rate_limit: RateLimit | None
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether segments can be exported; size histories and users need more permissions than that."""
        return all(self.permissions[endpoint.permission] for endpoint in (LIST, DETAILS))


def report_of(
    base_url: str, outcomes: Mapping[Endpoint, BrazeError | None], rate_limit: RateLimit | None
) -> CheckReport:
    """What the outcomes of the probes say, taken together.

    Args:
        base_url: where they were sent.
        outcomes: `None` for a success; endpoints that were not tried are not in it.
        rate_limit: as the last reply told it.
    """
    errors = tuple(outcomes.values())
    known = any(error is None or isinstance(error, _KEY_RECOGNISED_ERRORS) for error in errors)
    refused = any(isinstance(error, AuthenticationError) for error in errors)
    permissions = {
        endpoint.permission: _granted(outcomes[endpoint], known=known) if endpoint in outcomes else None
        for endpoint in (LIST, DETAILS, DATA_SERIES, USERS)
    }
    key = True if known else False if refused else None
    return CheckReport(
        base_url=base_url,
        host=known or refused or any(isinstance(error, RateLimitedError) for error in errors),
        key=key,
        permissions=permissions,
        rate_limit=rate_limit,
        problems=_problems(key, permissions, errors, likely_mistake(urlsplit(base_url).hostname or "")),
    )


def _granted(error: BrazeError | None, *, known: bool) -> bool | None:
    if error is None or isinstance(error, BadRequestError):
        return True
    # Braze has been reported to say 401 for a missing permission too, of a key it knows otherwise.
    if isinstance(error, PermissionDeniedError) or (known and isinstance(error, AuthenticationError)):
        return False
    return None


def _problems(
    key: bool | None,  # noqa: FBT001 - private, and a value of three
    permissions: Mapping[str, bool | None],
    errors: tuple[BrazeError | None, ...],
    mistake: str,
) -> tuple[str, ...]:
    problems = []
    if key is False:
        problems.append(
            "Braze does not accept the key: check that it is whole and still listed in the dashboard under "
            f"Settings > API Keys, and that the REST endpoint is that of its cluster{mistake}"
        )
    # Few keys may read users, and rightly so.
    missing = [name for name, granted in permissions.items() if granted is False and name != USERS.permission]
    if missing:
        what = f"the key lacks {' and '.join(missing)}"
        if missing == [DATA_SERIES.permission]:
            what += ", which only size histories need"
        problems.append(f"{what}: {_REMEDY}")
    for error in errors:
        if isinstance(error, RateLimitedError):
            when = f"before {error.resets_at:%Y-%m-%d %H:%M:%S} UTC" if error.resets_at else "now"
            problems.append(f"the workspace's rate limit allows no request {when}: check again then")
        elif error is not None and not isinstance(error, CONCLUSIVE_ERRORS):
            problems.append(str(error))
    return tuple(problems)
