"""Whether a key can do what an export needs: each permission is tried with one cheap request.

For the command `check`, and for a service that would rather not start than fail in the night.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import field, frozen

from .endpoints import DATA_SERIES, DETAILS, LIST, USERS, Endpoint
from .errors import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    ClosedError,
    PermissionDeniedError,
    RateLimitedError,
)
from .instances import likely_mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from .client import BrazeSegments
    from .rate_limit import RateLimit

__all__ = ["CheckReport", "check"]

_NO_SEGMENT = "00000000-0000-0000-0000-000000000000"
# Errors that say something of the key; after any other, the next request would most likely meet the same.
_TELLING = (BadRequestError, AuthenticationError, PermissionDeniedError)
_OF_A_KNOWN_KEY = (BadRequestError, PermissionDeniedError)
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


async def check(client: BrazeSegments) -> CheckReport:
    """See `BrazeSegments.check`."""
    # Braze's own answer to an id nobody has is a 400, but only a segment that exists leaves no doubt.
    ids = [_NO_SEGMENT]
    probes: dict[Endpoint, Callable[[], Coroutine[object, object, object]]] = {
        LIST: lambda: _find(client, ids),
        DETAILS: lambda: client.details(ids[-1]),
        DATA_SERIES: lambda: client.data_series(ids[-1], length=1),
        USERS: lambda: client.export_users(_NO_SEGMENT, fields=["external_id"]),  # so that none is started
    }
    outcomes: dict[Endpoint, BrazeError | None] = {}
    for endpoint, probe in probes.items():
        error = outcomes[endpoint] = await _outcome(probe())
        if error is not None and not isinstance(error, _TELLING):
            break
    return report_of(client.base_url, outcomes, client.rate_limit)


async def _find(client: BrazeSegments, ids: list[str]) -> None:
    async with aclosing(client.list().pages()) as pages:
        async for page in pages:
            ids.append(page.segments[0].id)
            return


async def _outcome(probe: Coroutine[object, object, object]) -> BrazeError | None:
    try:
        await probe
    except ClosedError:
        raise
    except BrazeError as error:
        return error
    return None


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
    known = any(error is None or isinstance(error, _OF_A_KNOWN_KEY) for error in errors)
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
        elif error is not None and not isinstance(error, _TELLING):
            problems.append(str(error))
    return tuple(problems)
