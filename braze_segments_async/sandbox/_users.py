"""The invented users of a segment.

A user depends only on the seed, the segment and the user's index, so that exports of different fields have
the same users. As with segments, the order of the choices in this module must not change.
"""

import json
import random
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from . import _vocabulary as vocabulary

_BORN: Final = int(datetime(1950, 1, 1, tzinfo=UTC).timestamp())
_CREATED: Final = int(datetime(2019, 1, 7, tzinfo=UTC).timestamp())
_RECENT: Final = int(datetime(2026, 4, 2, tzinfo=UTC).timestamp())  # events are at most 90 days old
_NOW: Final = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

_Choice = TypeVar("_Choice")


class _FastRandom(random.Random):
    """A generator with methods cheaper than the standard ones: large files need tens of millions of calls."""

    def below(self, limit: int) -> int:
        return int(self.random() * limit)

    def pick(self, options: Sequence[_Choice]) -> _Choice:
        return options[self.below(len(options))]

    def chance(self, share: float) -> bool:
        return self.random() < share

    def hex_digits(self, count: int) -> str:
        return f"{self.getrandbits(4 * count):0{count}x}"

    def timestamp(self, since: int = _RECENT) -> str:
        return _format_time(since + self.below(_NOW - since), self.below(1_000))


def encode_user(
    seed: int,
    segment_id: str,
    index: int,
    fields: Collection[str],
    attributes: Collection[str] | None = None,
) -> bytes:
    """Return user `index`, from 0, of a segment as one line of an exported file.

    The line has only `fields`, without those that are null, false or empty. `attributes` are the names of the
    custom attributes to export, instead of all or none of them.
    """
    user = _user(_FastRandom(f"{seed}:{segment_id}:{index}"), index)
    if attributes is not None:
        fields = {*fields, "custom_attributes"}
        chosen = {name: value for name, value in user["custom_attributes"].items() if name in attributes}
        user["custom_attributes"] = chosen
    exported = {
        name: value
        for name, value in user.items()
        if name in fields and (value or type(value) in {int, float})
    }
    return _ENCODER.encode(exported).encode() + b"\n"


def _user(rng: _FastRandom, index: int) -> dict[str, Any]:
    known, device, app = rng.chance(0.9), _device(rng), rng.pick(vocabulary.APPS)
    return {
        "created_at": rng.timestamp(_CREATED).replace("T", " ").replace("Z", " UTC"),
        **(_person(rng, index) if known else {}),
        "user_aliases": [] if known else [{"alias_name": f"user_{index}", "alias_label": "amplitude_id"}],
        "braze_id": f"{index:08x}{rng.hex_digits(16)}",
        "random_bucket": rng.below(10_000),
        "dob": _format_time(_BORN + rng.below(_CREATED - _BORN))[:10] if rng.chance(0.3) else None,
        "gender": rng.pick(("M", "F", None)),
        **_place(rng),
        **_attribution(rng),
        "push_subscribe": rng.pick(vocabulary.SUBSCRIPTIONS),
        "email_subscribe": rng.pick(vocabulary.SUBSCRIPTIONS),
        "uninstalled_at": rng.timestamp() if rng.chance(0.1) else None,
        "custom_attributes": _custom_attributes(rng),
        "custom_events": [_counted(rng, vocabulary.EVENTS) for _ in range(rng.below(4))],
        **_spending(rng),
        "devices": [device],
        "push_tokens": [_push_token(rng, app, device)] if rng.chance(0.5) else [],
        "apps": [_app(rng, app)],
        "campaigns_received": [_campaign(rng) for _ in range(rng.below(3))],
        "canvases_received": [_canvas(rng) for _ in range(rng.below(2))],
    }


def _person(rng: _FastRandom, index: int) -> dict[str, Any]:
    return {
        "external_id": f"u{index}_{rng.hex_digits(6)}",
        "first_name": rng.pick(vocabulary.GIVEN_NAMES),
        "last_name": rng.pick(vocabulary.FAMILY_NAMES),
        "email": f"user.{index}+{rng.below(90)}@example.com" if rng.chance(0.8) else "",
        "phone": f"+1555{rng.below(10**7):07}" if rng.chance(0.4) else None,
    }


def _place(rng: _FastRandom) -> dict[str, Any]:
    city, country, language, time_zone, longitude, latitude = rng.pick(vocabulary.PLACES)
    return {
        "home_city": city,
        "country": country,
        "language": language,
        "time_zone": time_zone,
        "last_coordinates": [longitude + rng.random(), latitude + rng.random()] if rng.chance(0.5) else [],
    }


def _attribution(rng: _FastRandom) -> dict[str, Any]:
    if rng.chance(0.8):
        return {}
    return {
        "attributed_campaign": f"summer_{rng.below(9)}",
        "attributed_source": "Übersee Ads",
        "attributed_adgroup": f"group-{rng.below(50)}",
        "attributed_ad": rng.hex_digits(8),
    }


def _custom_attributes(rng: _FastRandom) -> dict[str, Any]:
    attributes = {
        "loyaltyId": f"{rng.hex_digits(8)}-{rng.hex_digits(4)}",
        "loyaltyPoints": str(rng.below(900)),
        "loyalty points (number)": rng.below(900),
        "crm_id": 2**53 + rng.below(2**53),  # a float would round it
        "is_premium": rng.chance(0.3),
        "score": rng.random(),
        "sizes": [size for size in ("S", "M", "L") if rng.chance(0.4)],
        "お気に入り": rng.pick(vocabulary.PRODUCTS),
        "last_order": {
            "at": rng.timestamp(),
            "lines": [{"sku": rng.hex_digits(6), "quantity": rng.below(5)}],
        },
        "remark": rng.pick(vocabulary.REMARKS),
        "opted_out": None,
    }
    return {name: value for name, value in attributes.items() if rng.chance(0.6)}


def _spending(rng: _FastRandom) -> dict[str, Any]:
    if rng.chance(0.7):
        return {"total_revenue": 0}
    purchases = [_counted(rng, vocabulary.PRODUCTS) for _ in range(1 + rng.below(3))]
    return {"total_revenue": round(rng.random() * 900, 2), "purchases": purchases}


def _counted(rng: _FastRandom, names: Sequence[str]) -> dict[str, Any]:
    first, last = sorted((rng.timestamp(), rng.timestamp()))
    return {"name": rng.pick(names), "first": first, "last": last, "count": 1 + rng.below(20)}


def _device(rng: _FastRandom) -> dict[str, Any]:
    model, system = rng.pick(vocabulary.DEVICES)
    return {
        "model": model,
        "os": system,
        "carrier": rng.pick(vocabulary.CARRIERS),
        "device_id": rng.hex_digits(32),
        "ad_tracking_enabled": rng.chance(0.5),
    }


def _push_token(rng: _FastRandom, app: tuple[str, str], device: dict[str, Any]) -> dict[str, Any]:
    return {
        "app": app[0],
        "platform": app[1],
        "token": rng.hex_digits(64),
        "device_id": device["device_id"],
        "notifications_enabled": rng.chance(0.8),
    }


def _app(rng: _FastRandom, app: tuple[str, str]) -> dict[str, Any]:
    first, last = sorted((rng.timestamp(_CREATED), rng.timestamp(_CREATED)))
    return {
        "name": app[0],
        "platform": app[1],
        "version": f"3.{rng.below(40)}.{rng.below(10)}",
        "sessions": 1 + rng.below(2_000),
        "first_used": first,
        "last_used": last,
    }


def _campaign(rng: _FastRandom) -> dict[str, Any]:
    return {
        "name": f"{rng.pick(vocabulary.CONDITIONS)} → {rng.pick(vocabulary.AUDIENCES)}",
        "api_campaign_id": rng.hex_digits(32),
        "last_received": rng.timestamp(),
        "engaged": {channel: True for channel in vocabulary.CHANNELS if rng.chance(0.3)},
        "converted": rng.chance(0.2),
        "in_control": False,
        "variation_name": f"Variant {1 + rng.below(3)}",
        "variation_api_id": rng.hex_digits(32),
    }


def _canvas(rng: _FastRandom) -> dict[str, Any]:
    entered, received = sorted((rng.timestamp(), rng.timestamp()))
    step = {"name": "Step", "api_canvas_step_id": rng.hex_digits(32), "last_received": received}
    return {
        "name": f"{rng.pick(vocabulary.AUDIENCES)} / {rng.pick(vocabulary.MARKETS)}",
        "api_canvas_id": rng.hex_digits(32),
        "last_received_message": received,
        "last_entered": entered,
        "variation_name": f"Variant {1 + rng.below(3)}",
        "in_control": False,
        "last_entered_control_at": None,
        "last_exited": None,
        "steps_received": [step],
    }


def _format_time(epoch_seconds: int, milliseconds: int = 0) -> str:
    return f"{datetime.fromtimestamp(epoch_seconds, UTC).isoformat()[:19]}.{milliseconds:03}Z"
