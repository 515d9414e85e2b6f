"""Braze's clusters by name, and hints for a base URL of the wrong cluster (Braze: "API overview")."""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Instance", "find_instance", "likely_mistake", "suggest_instance"]


class Instance(StrEnum):
    """A cluster of Braze, by its name in the dashboard; the value is its REST endpoint (a `base_url`).

    The source is Braze's page "API overview". For a cluster that is not listed here, pass its URL.
    """

    US_01 = "https://rest.iad-01.braze.com"
    US_02 = "https://rest.iad-02.braze.com"
    US_03 = "https://rest.iad-03.braze.com"
    US_04 = "https://rest.iad-04.braze.com"
    US_05 = "https://rest.iad-05.braze.com"
    US_06 = "https://rest.iad-06.braze.com"
    US_07 = "https://rest.iad-07.braze.com"
    US_08 = "https://rest.iad-08.braze.com"
    US_10 = "https://rest.us-10.braze.com"
    EU_01 = "https://rest.fra-01.braze.eu"
    EU_02 = "https://rest.fra-02.braze.eu"
    AU_01 = "https://rest.au-01.braze.com"
    ID_01 = "https://rest.id-01.braze.com"
    JP_01 = "https://rest.jp-01.braze.com"
    KR_01 = "https://rest.kr-01.braze.com"

    @property
    def label(self) -> str:
        """The name as Braze writes it, such as `US-01`."""
        return self.name.replace("_", "-")


_NAMES = {instance.label: instance for instance in Instance}
_HOSTS = {instance.removeprefix("https://"): instance for instance in Instance}
_REGIONS = {"iad": "US", "fra": "EU"}  # airport codes; other endpoints have the region's name


def find_instance(name: str) -> Instance | None:
    """Return the instance with a name such as "US-01", in any letter case; `None` if there is none."""
    return _NAMES.get(name.strip().upper().replace("_", "-"))


def likely_mistake(host: str) -> str:
    """Return a hint for an API key that is not accepted by a host.

    Args:
        host: Host of the base URL.

    Returns:
        A clause to append to an error message; empty for an unknown host.
    """
    if host in _HOSTS:
        return (
            f"; {host} is {_HOSTS[host].label}, and a key works on its own instance only. The address of the "
            "dashboard shows it (dashboard-01.braze.com is US-01, dashboard-01.braze.eu is EU-01)"
        )
    return suggest_instance(host)


def suggest_instance(host: str) -> str:
    """Return a hint for a host that is almost right, such as iad-10 (for us-10) or fra-01 with .com."""
    parts = re.fullmatch(r"rest\.([a-z]+)-(\d\d)\.braze\.(?:com|eu)", host)
    if parts is None:
        return ""
    region, number = parts.groups()
    meant = Instance.__members__.get(f"{_REGIONS.get(region, region.upper())}_{number}")
    known = meant.removeprefix("https://") if meant else host
    return f"; did you mean {known} ({meant.label})?" if meant and known != host else ""
