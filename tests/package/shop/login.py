from django.urls import path, reverse_lazy

from instant_notifications.otp.views import RequestCodeView, VerifyCodeView


class AskForNumber(RequestCodeView):
    purpose = "login"
    success_url = reverse_lazy("enter_code")


class EnterCode(VerifyCodeView):
    purpose = "login"
    request_url = reverse_lazy("ask_for_number")
    success_url = "/"


urlpatterns = [
    path("", AskForNumber.as_view(), name="ask_for_number"),
    path("code/", EnterCode.as_view(), name="enter_code"),
]
