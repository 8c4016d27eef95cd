// The pages work without this script. With it, a second click asks for nothing twice, and some
// browsers fill in the code from an SMS by themselves (WebOTP).
const field = document.querySelector("input[autocomplete=one-time-code]");
const waiting = new AbortController();
let sent = false;

document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
  waiting.abort();
}, { capture: true });
window.addEventListener("pageshow", () => { sent = false; });

if (field && "OTPCredential" in window) {
  navigator.credentials.get({ otp: { transport: ["sms"] }, signal: waiting.signal })
    .then(({ code }) => { field.value = code; field.form.requestSubmit(); })
    .catch(() => {}); // then it is typed
}
