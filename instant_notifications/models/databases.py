"""Which database the rows live in, and who holds a connection to it."""

from django.db import connections, router

from instant_notifications.exceptions import OpenTransaction


def primary() -> str:
    """The alias that is written to, and read from where a replica's lag would tell a lie."""
    from instant_notifications.models.orders import Order

    return router.db_for_write(Order)


def can_skip_locked() -> bool:
    """Whether rows that another process has in hand can be left to it; if not, they are waited
    for."""
    return connections[primary()].features.has_select_for_update_skip_locked


def refuse_open_transaction() -> None:
    """Raises ``OpenTransaction``, but for that of a ``TestCase``, which is never committed."""
    connection = connections[primary()]
    if not connection.get_autocommit() or connection.in_atomic_block:
        blocks = connection.atomic_blocks
        if not (blocks and getattr(blocks[-1], "_from_testcase", False)):
            raise OpenTransaction


def release_pooled_connection() -> None:
    """Give the connection back where a pool can lend it to somebody else meanwhile."""
    connection = connections[primary()]
    if getattr(connection, "pool", None) and not connection.in_atomic_block:
        connection.close()
