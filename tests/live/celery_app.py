"""The Celery app of the host that these tests play, as Celery's own guide writes it."""

import os
from typing import Final

from celery import Celery

AMQP_URL: Final = os.environ.get("TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")

app: Final = Celery("tests.live", broker=AMQP_URL)
app.conf.worker_enable_remote_control = False
app.autodiscover_tasks()
