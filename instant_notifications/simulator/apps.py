from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SimulatorConfig(AppConfig):
    name = "instant_notifications.simulator"
    label = "instant_notifications_simulator"
    verbose_name = _("Simulator")
    default_auto_field = "django.db.models.BigAutoField"
