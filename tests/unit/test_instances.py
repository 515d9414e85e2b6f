"""Braze's instances by name: their hosts, and common mistakes."""

from __future__ import annotations

import re

import pytest
from aioresponses_shim import mocked
from fault_client import KEY

from braze_segments_async import AuthenticationError, BrazeSegments, ConfigError, Instance
from braze_segments_async._instances import likely_mistake


def test_instances_have_the_hosts_braze_lists() -> None:
    """Each instance has the host that Braze documents."""
    hosts = {f"US-0{n}": f"rest.iad-0{n}.braze.com" for n in range(1, 9)}
    hosts |= {f"{place}-01": f"rest.{place.lower()}-01.braze.com" for place in ("AU", "ID", "JP", "KR")}
    hosts |= {
        "EU-01": "rest.fra-01.braze.eu",
        "EU-02": "rest.fra-02.braze.eu",
        "US-10": "rest.us-10.braze.com",
    }
    assert {each.label: each.value for each in Instance} == {
        label: f"https://{host}" for label, host in hosts.items()
    }


@pytest.mark.parametrize("instance", Instance)
def test_an_instance_is_a_base_url(instance: Instance) -> None:
    """An instance is accepted as `base_url`, and its text is the URL."""
    assert BrazeSegments("KEY", base_url=instance).base_url == str(instance) == instance.value


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("rest.iad-10.braze.com", "rest.us-10.braze.com (US-10)"),
        ("rest.fra-01.braze.com", "rest.fra-01.braze.eu (EU-01)"),
        ("rest.eu-02.braze.com", "rest.fra-02.braze.eu (EU-02)"),
        ("rest.us-03.braze.com", "rest.iad-03.braze.com (US-03)"),
        ("rest.jp-01.braze.eu", "rest.jp-01.braze.com (JP-01)"),
    ],
)
def test_a_host_that_is_nearly_right(host: str, meant: str) -> None:
    """The intended host is suggested from its region and number."""
    assert likely_mistake(host) == f"; did you mean {meant}?"


@pytest.mark.parametrize("host", ["", "localhost", "rest.iad-99.braze.com", "rest.mars-01.braze.com", "a.b"])
def test_nothing_is_guessed_of_other_hosts(host: str) -> None:
    """Unknown hosts get no suggestion: Braze adds instances, and gateways have other names."""
    assert likely_mistake(host) == ""


def test_a_valid_host_may_be_the_wrong_instance() -> None:
    """The hint for a valid host names its instance and the one it is often confused with."""
    hint = likely_mistake("rest.iad-01.braze.com")
    assert hint.startswith("; rest.iad-01.braze.com is US-01, and a key works on its own instance only. ")
    assert "dashboard-01.braze.eu is EU-01" in hint


async def test_a_401_names_the_likely_mistake() -> None:
    """A 401 from a host that is probably a mistake names the right one, once in each error."""
    with mocked() as mock:
        mock.get(re.compile("https://rest.iad-10.braze.com/"), status=401, body=b"{}", repeat=True)
        async with BrazeSegments(KEY, base_url="https://rest.iad-10.braze.com") as client:
            for segment_id in ("a", "b"):
                with pytest.raises(AuthenticationError) as caught:
                    await client.details(segment_id)
                assert str(caught.value).count("; did you mean rest.us-10.braze.com (US-10)?") == 1
                assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", ["US-01", "us-01", " Us_01 "])
def test_the_name_of_an_instance_is_a_base_url(name: str) -> None:
    """The name in the dashboard is accepted as `base_url`, in any letter case."""
    assert BrazeSegments("KEY", base_url=name).base_url == Instance.US_01.value


@pytest.mark.parametrize("host", ["US-09", "https://gateway", "https://gateway.", "braze/api", "2130706433"])
def test_a_host_without_a_dot(host: str) -> None:
    """A host without a dot is refused with the names of the instances, since it is most often a mistake."""
    with pytest.raises(ConfigError, match=r"without a dot: .* US-01, .* KR-01") as caught:
        BrazeSegments("KEY", base_url=host)
    assert caught.value.argument == "base_url"


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://[::1]:1", "https://[2001:db8::1]"])
def test_loopback_and_addresses_need_no_dot(url: str) -> None:
    """Loopback and IPv6 addresses are accepted without a dot."""
    assert BrazeSegments("KEY", base_url=url).base_url == url
