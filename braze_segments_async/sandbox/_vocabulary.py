"""The words of invented segments and users.

The number and order of the entries decide what a seed gives, so they must not change: the same seed must give
the same workspace, byte for byte, in every version.
"""

from typing import Final


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(word for line in lines for word in line.split("; "))


AUDIENCES: Final = _words(
    "Lapsed buyers; VIP; New sign-ups; High spenders; Newsletter readers; Trial users; Churn risk; QA",
    "Dormant accounts; First-time buyers; Loyalty tier “Gold”; Window shoppers; Referrers (+1); Wishlist",
    'Cart abandoners; Gift card holders; App uninstallers; "Hot" leads; Dads, mums & kids; Kündiger',
    "休眠ユーザー; 新規会員; 장바구니 이탈; Постоянные покупатели; عملاء مميزون; Clients fidèles",
)
CONDITIONS: Final = _words(
    "30 days; 90 days; 180 days; push opted-in; email opted-in; SMS; no purchase yet; 3+ orders; iOS only",
    "Android only; web, last session < 7 days; LTV > 500 €; opened last 5 emails; control group 10%",
    "holdout; birthday this month; low stock alert; payday; 🔥 Black Friday; 🎁 Xmas; welcome flow; win-back",
    "do not contact; survey: promoters; premium → basic",
)
MARKETS: Final = _words("EU; US; UK; DACH; FR; JP; KR; BR; MENA; ANZ; Nordics; Global")
NAMES: Final = _words(
    "{who} – {what} ({where}){mark}; {who} | {what} | {where}{mark}",  # noqa: RUF001 - as people type names
    "{where}: {who}, {what}{mark}; [{where}] {who}: {what}{mark}; {who} {what}{mark}",
    "{where}_{who}_{what}{mark}",
)
MARKS: Final = (
    "",
    " v{quarter}",
    " #{number}",
    " {year}-Q{quarter}",
    " (copy {number})",
    " / CRM-{number}",
)
TAGS: Final = _words(
    "lifecycle; CRM; retention; promo; Q4; transactional; Team Growth; do-not-delete; A/B, wave 2; loyalty",
    "legal: GDPR; 日本; ⭐ priority; test",
)
TEAMS: Final = _words("CRM Europe; Growth; Lifecycle; Retention & Loyalty; 日本チーム")
FILTERS: Final = _words(
    "Last Used App more than {} days ago; Last Used App less than {} days ago; Push Enabled is true",
    "Custom Attribute plan is premium; Custom Attribute size is any of S, M, L; Language is Japanese",
    "Last Purchased Product more than {} days ago; Money Spent In App is more than {}; Country is Germany",
    "Email Subscription Status is opted in; Session Count is more than {}; Random Bucket # is less than {}",
)
NOTES: Final = (
    "Do not use for sends.",
    "Owner: CRM team",
    "Goes with the “win-back” Canvas;\nask before editing.",
)

GIVEN_NAMES: Final = _words(
    "Jane; Zoë; José; Anna-Lena; D'Arcy; Björn; Nguyễn; Łukasz; Ólafur; Мария; 陽菜; 민준; فاطمة; Ana 🌻",
)
FAMILY_NAMES: Final = _words(
    "Doe; O'Neill; García Márquez; Müller-Lüdenscheidt; Çelik; Øster; Kowalska; Иванова; 佐藤; 김; العلي; Ng",
)
PLACES: Final = (
    ("Chicago", "US", "en", "America/Chicago", -87.63, 41.88),
    ("Zürich", "CH", "de", "Europe/Zurich", 8.54, 47.37),
    ("São Paulo", "BR", "pt", "America/Sao_Paulo", -46.63, -23.55),
    ("東京", "JP", "ja", "Asia/Tokyo", 139.69, 35.69),
    ("서울", "KR", "ko", "Asia/Seoul", 126.98, 37.57),
    ("القاهرة", "EG", "ar", "Africa/Cairo", 31.24, 30.04),
    ("Kraków", "PL", "pl", "Europe/Warsaw", 19.94, 50.06),
)
PRODUCTS: Final = _words(
    "item_40834; sku/99-B; Geschenkkarte 25 €; 抹茶セット; premium (yearly); T-shirt “XL”"
)
EVENTS: Final = _words("Loyalty Acknowledgement; added_to_cart; Level Up 🎮; checkout: started; ログイン")
DEVICES: Final = (
    ("iPhone 15 Pro", "17.5.1"),
    ("iPad Air", "16.7"),
    ("Pixel XL", "Android (Q)"),
    ("SM-G991B", "Android (T)"),
    ("Chrome", "Windows"),
)
APPS: Final = (("MovieCannon", "iOS"), ("MovieCannon", "Android"), ("Kino täglich", "Web"))
CARRIERS: Final = (None, "T-Mobile", "docomo", "Orange F")
CHANNELS: Final = _words("opened_email; opened_push; clicked_email; clicked_triggered_in_app_message")
SUBSCRIPTIONS: Final = ("opted_in", "subscribed", "unsubscribed", None)
REMARKS: Final = (
    "asked for a call back,\nthen hung up",
    'prefers "quiet" hours \\ no e-mail',
    "pasted from a sheet\u2028second line of the cell",  # raw in JSON, but str.splitlines breaks the line
    "👩‍👩‍👧 family plan",
    "=SUM(A1:A9)",
)

EXPORT_FIELDS: Final = _words(  # all that Braze documents for "fields_to_export"
    "apps; attributed_ad; attributed_adgroup; attributed_campaign; attributed_source; braze_id",
    "campaigns_received; canvases_received; country; created_at; created_from; custom_attributes",
    "custom_events; devices; dob; email; email_subscribe; external_id; first_name; gender; home_city",
    "language; last_coordinates; last_name; phone; purchases; push_subscribe; push_tokens",
    "random_bucket; time_zone; total_revenue; uninstalled_at; user_aliases",
)
