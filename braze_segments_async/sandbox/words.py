"""The vocabulary of the invented workspace: what segments, tags, teams and filters are called in CRM work."""

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
    "{who} – {what} ({where}){mark}; {who} | {what} | {where}{mark}",  # noqa: RUF001 - as people type it
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
