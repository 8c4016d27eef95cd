"""Which database the rows live in, and who holds a connection to it."""

from django.db import connections, router


def primary() -> str:
    """The alias that is written to, and read from where a replica's lag would tell a lie."""
    from instant_notifications.models.orders import Order

    return router.db_for_write(Order)


def release_pooled_connection() -> None:
    """Give the connection back where a pool can lend it to somebody else meanwhile."""
    connection = connections[primary()]
    if getattr(connection, "pool", None) and not connection.in_atomic_block:
        connection.close()
