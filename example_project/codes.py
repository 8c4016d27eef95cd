"""How a site uses one-time codes: a number is typed, a code is sent to it, the code is typed."""

from django.urls import path, reverse_lazy
from django.views.generic import TemplateView

from instant_notifications import privacy
from instant_notifications.otp.models import Challenge
from instant_notifications.otp.views import RequestCodeView, VerifyCodeView

PURPOSE = "example"


class AskForNumber(RequestCodeView):
    purpose = PURPOSE
    success_url = reverse_lazy("enter_code")


class EnterCode(VerifyCodeView):
    purpose = PURPOSE
    request_url = reverse_lazy("get_code")
    success_url = reverse_lazy("number_verified")
    template_name = "example_project/enter_code.html"

    def verified(self, challenge: Challenge) -> None:
        self.request.session["verified"] = privacy.mask(challenge.destination)


urlpatterns = [
    path("", AskForNumber.as_view(), name="get_code"),
    path("enter/", EnterCode.as_view(), name="enter_code"),
    path(
        "done/",
        TemplateView.as_view(template_name="example_project/number_verified.html"),
        name="number_verified",
    ),
]
