import pytest

pytest.register_assert_rewrite("instant_notifications.testing")
