"""The encrypted model fields. Migrations name their path: do not move them."""

import json
import logging
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from instant_notifications import privacy

logger = logging.getLogger("instant_notifications")


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Text that the database holds only as ciphertext.

    It cannot be searched; keep a digest beside it for that. ``None`` means erased; what no key
    in force can open reads as ``None`` too, so that one lost key never breaks a whole list.
    """

    def get_prep_value(self, value: Any) -> str | None:
        text = super().get_prep_value(value)
        return None if text is None else privacy.encrypt(text)

    def from_db_value(
        self,
        value: str | None,
        expression: Any,  # noqa: ARG002
        connection: BaseDatabaseWrapper,  # noqa: ARG002
    ) -> str | None:
        if value is None:
            return None
        try:
            return privacy.decrypt(value)
        except privacy.Unreadable:
            logger.exception("ciphertext unreadable field=%s", self.name)
            return None

    def get_lookup(self, lookup_name: str) -> Any:
        """Only ``isnull`` makes sense on ciphertext."""
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None


class EncryptedListField(EncryptedTextField):
    """A list of texts, kept as one ciphertext. What is erased or unreadable reads as empty."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"default": list, **options})

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else privacy.encrypt(json.dumps(self.to_python(value)))

    def from_db_value(self, *args: Any) -> Any:
        text = super().from_db_value(*args)
        return json.loads(text) if text else []

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj))
