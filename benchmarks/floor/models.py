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


class ShipmentStatus(models.Model):
    """The last that an upstream has said of a shipment."""

    shipment_id = models.CharField(max_length=255, primary_key=True)
    status = models.CharField(max_length=40)
    last_update = models.DateTimeField()

    def __str__(self) -> str:
        return self.shipment_id


class Cursor(models.Model):
    """How far an upstream's feed was read."""

    upstream = models.CharField(max_length=64, primary_key=True)
    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.upstream} {self.number}"


class Entry(models.Model):
    """One line of the feed."""

    message = models.ForeignKey(Message, models.CASCADE)
    status = models.CharField(max_length=40)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return str(self.pk)
