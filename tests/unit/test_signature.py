import base64
import json
import time

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from standardwebhooks import Webhook, WebhookVerificationError

from handoff.delivery.signature import Signer, app_secret, parse_secret, show_secret, sign

OLD = bytes(range(32))
NEW = bytes(range(32, 64))
BODY = '{"sessionId":"s-1","reason":"größer"}'.encode()


def headers_of(signer: Signer, app_id: str = "app-1", timestamp_s: int | None = None) -> dict[str, str]:
    now_s = int(time.time()) if timestamp_s is None else timestamp_s
    return signer.headers(app_id=app_id, webhook_id="msg_1", timestamp_s=now_s, body=BODY)


def accepts(secret: bytes, headers: dict[str, str], body: bytes = BODY) -> bool:
    try:
        Webhook(show_secret(secret)).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_the_public_package_verifies_a_callback_with_the_secret_shown_to_the_receiver() -> None:
    verified = Webhook(show_secret(app_secret(NEW, "app-1"))).verify(BODY, headers_of(Signer([NEW])))

    assert verified == json.loads(BODY)


def test_a_changed_body_or_id_or_time_does_not_verify() -> None:
    secret, headers = app_secret(NEW, "app-1"), headers_of(Signer([NEW]))
    later = str(int(headers["webhook-timestamp"]) + 1)

    assert accepts(secret, headers)
    assert not accepts(secret, headers, BODY + b" ")
    assert not accepts(secret, headers | {"webhook-id": "msg_2"})
    assert not accepts(secret, headers | {"webhook-timestamp": later})


def test_while_secrets_rotate_the_old_and_the_new_both_verify() -> None:
    headers = headers_of(Signer([NEW, OLD]))

    assert accepts(app_secret(NEW, "app-1"), headers)
    assert accepts(app_secret(OLD, "app-1"), headers)


def test_a_dropped_secret_no_longer_verifies() -> None:
    headers = headers_of(Signer([NEW]))

    assert not accepts(app_secret(OLD, "app-1"), headers)


def test_the_newest_signature_comes_first() -> None:
    newest, oldest = (headers_of(Signer([key]), timestamp_s=7)["webhook-signature"] for key in (NEW, OLD))

    assert headers_of(Signer([NEW, OLD]), timestamp_s=7)["webhook-signature"] == f"{newest} {oldest}"


def test_one_app_cannot_verify_or_forge_for_another() -> None:
    headers = headers_of(Signer([NEW]), app_id="app-1")

    assert not accepts(app_secret(NEW, "app-2"), headers)
    assert not accepts(NEW, headers)


def test_a_signer_that_has_seen_one_app_signs_for_the_next_with_its_own_secret() -> None:
    signer = Signer([NEW])
    first, second, again = (headers_of(signer, app_id) for app_id in ("app-1", "app-2", "app-1"))

    assert accepts(app_secret(NEW, "app-1"), first)
    assert accepts(app_secret(NEW, "app-2"), second)
    assert accepts(app_secret(NEW, "app-1"), again)


def test_without_secrets_a_callback_has_an_id_and_a_time_only() -> None:
    headers = Signer([]).headers(app_id="app-1", webhook_id="msg_1", timestamp_s=1_614_265_330, body=BODY)

    assert headers == {"webhook-id": "msg_1", "webhook-timestamp": "1614265330"}


def test_the_published_vector_of_standard_webhooks_is_met() -> None:
    secret = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_apps_secret_is_the_documented_derivation() -> None:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"handoff callback v1:app-1")

    assert app_secret(OLD, "app-1") == derivation.derive(OLD)


def test_a_fixed_callback_always_gets_the_same_headers() -> None:
    headers = Signer([OLD]).headers(
        app_id="app-1", webhook_id="msg_01", timestamp_s=1_700_000_000, body=b'{"sessionId":"s-1"}'
    )

    assert show_secret(app_secret(OLD, "app-1")) == "whsec_NyKT09rDulmzERrbBE+UOt02Yg6qtN65A7hHUULtCo8="
    assert headers == {
        "webhook-id": "msg_01",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,W2Gpw8m4ckws9ascN1Wa5yZNgwWmKk7xhJEGP5McZZs=",
    }


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_reads_back_as_it_is_shown(size: int) -> None:
    secret = bytes(range(size))

    assert parse_secret(show_secret(secret)) == secret


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with whsec_"),
        (base64.b64encode(OLD).decode(), "starts with whsec_"),
        ("WHSEC_" + base64.b64encode(OLD).decode(), "starts with whsec_"),
        ("whsec_" + base64.b64encode(OLD).decode().rstrip("="), "padded base64"),
        ("whsec_" + base64.b64encode(OLD).decode() + "\n", "padded base64"),
        ("whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(), "padded base64"),
        ("whsec_größer", "padded base64"),
        ("whsec_", "24 to 64 bytes, not 0"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "24 to 64 bytes, not 23"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "24 to 64 bytes, not 65"),
    ],
)
def test_an_unusable_secret_is_refused_without_being_repeated(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        parse_secret(text)

    assert text.removeprefix("whsec_") not in str(refused.value) or text in {"", "whsec_"}
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
