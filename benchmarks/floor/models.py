from django.db import models


class Message(models.Model):
    """Inserted before the gateway is called, updated after it."""

    key = models.CharField(max_length=255, unique=True)
    creator = models.CharField(max_length=255)
    destination = models.CharField(max_length=255)
    sender = models.CharField(max_length=64)
    body = models.TextField()
    status = models.CharField(max_length=40)
    gateway_reference = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return str(self.pk)


class Entry(models.Model):
    """One line of the feed."""

    message = models.ForeignKey(Message, models.CASCADE)
    status = models.CharField(max_length=40)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return str(self.pk)
