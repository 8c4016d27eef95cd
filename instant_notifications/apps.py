from importlib.util import find_spec

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InstantNotificationsConfig(AppConfig):
    name = "instant_notifications"
    verbose_name = _("Instant notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from instant_notifications import checks  # noqa: F401 (registers the checks)

        if find_spec("anymail"):
            _listen_to_anymail()
        if find_spec("prometheus_client"):
            from instant_notifications import metrics  # noqa: F401 (registers the gauges)


def _listen_to_anymail() -> None:
    from anymail.signals import tracking

    from instant_notifications.webhooks import take_tracking_event

    tracking.connect(take_tracking_event, dispatch_uid="instant_notifications")
