from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InstantNotificationsConfig(AppConfig):
    name = "instant_notifications"
    verbose_name = _("Instant notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from instant_notifications import checks  # noqa: F401 (registers the checks)
