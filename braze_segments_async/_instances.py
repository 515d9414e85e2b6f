"""Braze's clusters by name, and the mistakes that are made with them (Braze: "API endpoints")."""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Instance", "likely_mistake", "nearest"]


class Instance(StrEnum):
    """A cluster of Braze's by the name the dashboard gives it; its value is the REST endpoint, a `base_url`.

    Clusters are added over time: one that is not here is given as its url.
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
        """As Braze writes it: `US-01`."""
        return self.name.replace("_", "-")


_HOSTS = {instance.removeprefix("https://"): instance for instance in Instance}
_REGIONS = {"iad": "US", "fra": "EU"}  # by airport; the other endpoints say what the dashboard says


def likely_mistake(host: str) -> str:
    """What may be wrong about a host that does not know the key.

    Args:
        host: of the base url.

    Returns:
        A clause to put behind the problem; empty for a host of which nothing is known.
    """
    if host in _HOSTS:
        return (
            f"; {host} is {_HOSTS[host].label}, and a key works on its own instance only: the address of the "
            "dashboard names it (dashboard-01.braze.com is US-01, dashboard-01.braze.eu is EU-01)"
        )
    return nearest(host)


def nearest(host: str) -> str:
    """The instance that may be meant by a host like iad-10 for us-10, or fra-01 with .com; see above."""
    parts = re.fullmatch(r"rest\.([a-z]+)-(\d\d)\.braze\.(?:com|eu)", host)
    if parts is None:
        return ""
    region, number = parts.groups()
    meant = Instance.__members__.get(f"{_REGIONS.get(region, region.upper())}_{number}")
    known = meant.removeprefix("https://") if meant else host
    return f"; did you mean {known} ({meant.label})?" if meant and known != host else ""
