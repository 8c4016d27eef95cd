from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OneTimeCodesConfig(AppConfig):
    name = "instant_notifications.otp"
    label = "instant_notifications_otp"
    verbose_name = _("One-time codes")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from instant_notifications.otp import checks  # noqa: F401 (registers the checks)
