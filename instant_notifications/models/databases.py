"""Which database the rows live in."""

from django.db import router


def primary() -> str:
    """The alias that is written to, and read from where a replica's lag would tell a lie."""
    from instant_notifications.models.orders import Order

    return router.db_for_write(Order)
