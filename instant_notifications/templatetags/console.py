"""How the console writes things."""

from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from instant_notifications import privacy

register = template.Library()


@register.filter
def when(moment: datetime | None) -> SafeString | str:
    """A time in the reader's zone, to the second; the exact UTC shows when one points at it."""
    if moment is None:
        return "\N{EN DASH}"
    exact = moment.astimezone(UTC)
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        exact.isoformat(timespec="milliseconds"),
        exact.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        f"{date_format(local, 'SHORT_DATE_FORMAT')} {local:%H:%M:%S}",
    )


@register.filter
def masked(destination: str | None) -> str:
    return privacy.mask(destination)
