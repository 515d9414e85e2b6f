"""The invented users of a segment: real-looking people, the same ones for the same seed.

A user depends on the seed, the segment and the place in it alone, so that exports of other fields tell of
the same people.
"""

import json
import random
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from . import _vocabulary as words

_BORN: Final = int(datetime(1950, 1, 1, tzinfo=UTC).timestamp())
_CREATED: Final = int(datetime(2019, 1, 7, tzinfo=UTC).timestamp())
_RECENT: Final = int(datetime(2026, 4, 2, tzinfo=UTC).timestamp())  # events and the like go back 90 days
_NOW: Final = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

_Choice = TypeVar("_Choice")


class _Dice(random.Random):
    """Throws cheaper than the library's own: a large file takes tens of millions of them."""

    def below(self, limit: int) -> int:
        return int(self.random() * limit)

    def pick(self, choices: Sequence[_Choice]) -> _Choice:
        return choices[self.below(len(choices))]

    def hits(self, share: float) -> bool:
        return self.random() < share

    def digits(self, count: int) -> str:
        return f"{self.getrandbits(4 * count):0{count}x}"

    def moment(self, since: int = _RECENT) -> str:
        return _moment(since + self.below(_NOW - since), self.below(1_000))


def line(seed: int, segment_id: str, index: int, fields: Collection[str]) -> bytes:
    """Return user `index`, from 0, of a segment as one line of an exported file.

    Only `fields` appear, and of those none that is null, false or empty.
    """
    user = _user(_Dice(f"{seed}:{segment_id}:{index}"), index)
    kept = {
        name: value
        for name, value in user.items()
        if name in fields and (value or type(value) in {int, float})
    }
    return _ENCODER.encode(kept).encode() + b"\n"


def _user(dice: _Dice, index: int) -> dict[str, Any]:
    known, device, app = dice.hits(0.9), _device(dice), dice.pick(words.APPS)
    return {
        "created_at": dice.moment(_CREATED).replace("T", " ").replace("Z", " UTC"),
        **(_person(dice, index) if known else {}),
        "user_aliases": [] if known else [{"alias_name": f"user_{index}", "alias_label": "amplitude_id"}],
        "braze_id": f"{index:08x}{dice.digits(16)}",
        "random_bucket": dice.below(10_000),
        "dob": _moment(_BORN + dice.below(_CREATED - _BORN))[:10] if dice.hits(0.3) else None,
        "gender": dice.pick(("M", "F", None)),
        **_place(dice),
        **_attribution(dice),
        "push_subscribe": dice.pick(words.SUBSCRIPTIONS),
        "email_subscribe": dice.pick(words.SUBSCRIPTIONS),
        "uninstalled_at": dice.moment() if dice.hits(0.1) else None,
        "custom_attributes": _custom_attributes(dice),
        "custom_events": [_counted(dice, words.EVENTS) for _ in range(dice.below(4))],
        **_spending(dice),
        "devices": [device],
        "push_tokens": [_push_token(dice, app, device)] if dice.hits(0.5) else [],
        "apps": [_app(dice, app)],
        "campaigns_received": [_campaign(dice) for _ in range(dice.below(3))],
        "canvases_received": [_canvas(dice) for _ in range(dice.below(2))],
    }


def _person(dice: _Dice, index: int) -> dict[str, Any]:
    return {
        "external_id": f"u{index}_{dice.digits(6)}",
        "first_name": dice.pick(words.GIVEN_NAMES),
        "last_name": dice.pick(words.FAMILY_NAMES),
        "email": f"user.{index}+{dice.below(90)}@example.com" if dice.hits(0.8) else "",
        "phone": f"+1555{dice.below(10**7):07}" if dice.hits(0.4) else None,
    }


def _place(dice: _Dice) -> dict[str, Any]:
    city, country, language, time_zone, longitude, latitude = dice.pick(words.PLACES)
    return {
        "home_city": city,
        "country": country,
        "language": language,
        "time_zone": time_zone,
        "last_coordinates": [longitude + dice.random(), latitude + dice.random()] if dice.hits(0.5) else [],
    }


def _attribution(dice: _Dice) -> dict[str, Any]:
    if dice.hits(0.8):
        return {}
    return {
        "attributed_campaign": f"summer_{dice.below(9)}",
        "attributed_source": "Übersee Ads",
        "attributed_adgroup": f"group-{dice.below(50)}",
        "attributed_ad": dice.digits(8),
    }


def _custom_attributes(dice: _Dice) -> dict[str, Any]:
    attributes = {
        "loyaltyId": f"{dice.digits(8)}-{dice.digits(4)}",
        "loyaltyPoints": str(dice.below(900)),
        "loyalty points (number)": dice.below(900),
        "crm_id": 2**53 + dice.below(2**53),  # a float would round it
        "is_premium": dice.hits(0.3),
        "score": dice.random(),
        "sizes": [size for size in ("S", "M", "L") if dice.hits(0.4)],
        "お気に入り": dice.pick(words.PRODUCTS),
        "last_order": {"at": dice.moment(), "lines": [{"sku": dice.digits(6), "quantity": dice.below(5)}]},
        "remark": dice.pick(words.REMARKS),
        "opted_out": None,
    }
    return {name: value for name, value in attributes.items() if dice.hits(0.6)}


def _spending(dice: _Dice) -> dict[str, Any]:
    if dice.hits(0.7):
        return {"total_revenue": 0}
    purchases = [_counted(dice, words.PRODUCTS) for _ in range(1 + dice.below(3))]
    return {"total_revenue": round(dice.random() * 900, 2), "purchases": purchases}


def _counted(dice: _Dice, names: Sequence[str]) -> dict[str, Any]:
    first, last = sorted((dice.moment(), dice.moment()))
    return {"name": dice.pick(names), "first": first, "last": last, "count": 1 + dice.below(20)}


def _device(dice: _Dice) -> dict[str, Any]:
    model, system = dice.pick(words.DEVICES)
    return {
        "model": model,
        "os": system,
        "carrier": dice.pick(words.CARRIERS),
        "device_id": dice.digits(32),
        "ad_tracking_enabled": dice.hits(0.5),
    }


def _push_token(dice: _Dice, app: tuple[str, str], device: dict[str, Any]) -> dict[str, Any]:
    return {
        "app": app[0],
        "platform": app[1],
        "token": dice.digits(64),
        "device_id": device["device_id"],
        "notifications_enabled": dice.hits(0.8),
    }


def _app(dice: _Dice, app: tuple[str, str]) -> dict[str, Any]:
    first, last = sorted((dice.moment(_CREATED), dice.moment(_CREATED)))
    return {
        "name": app[0],
        "platform": app[1],
        "version": f"3.{dice.below(40)}.{dice.below(10)}",
        "sessions": 1 + dice.below(2_000),
        "first_used": first,
        "last_used": last,
    }


def _campaign(dice: _Dice) -> dict[str, Any]:
    return {
        "name": f"{dice.pick(words.CONDITIONS)} → {dice.pick(words.AUDIENCES)}",
        "api_campaign_id": dice.digits(32),
        "last_received": dice.moment(),
        "engaged": {channel: True for channel in words.CHANNELS if dice.hits(0.3)},
        "converted": dice.hits(0.2),
        "in_control": False,
        "variation_name": f"Variant {1 + dice.below(3)}",
        "variation_api_id": dice.digits(32),
    }


def _canvas(dice: _Dice) -> dict[str, Any]:
    entered, received = sorted((dice.moment(), dice.moment()))
    step = {"name": "Step", "api_canvas_step_id": dice.digits(32), "last_received": received}
    return {
        "name": f"{dice.pick(words.AUDIENCES)} / {dice.pick(words.MARKETS)}",
        "api_canvas_id": dice.digits(32),
        "last_received_message": received,
        "last_entered": entered,
        "variation_name": f"Variant {1 + dice.below(3)}",
        "in_control": False,
        "last_entered_control_at": None,
        "last_exited": None,
        "steps_received": [step],
    }


def _moment(epoch_seconds: int, milliseconds: int = 0) -> str:
    return f"{datetime.fromtimestamp(epoch_seconds, UTC).isoformat()[:19]}.{milliseconds:03}Z"
