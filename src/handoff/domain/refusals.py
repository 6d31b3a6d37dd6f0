"""Every refusal of the API: its stable code, HTTP status and title."""

from enum import Enum
from typing import Final


class Refusal(Enum):
    """A reason not to do what was asked. The value is `(code, HTTP status, title)`."""

    TOKEN_MISSING = ("token_missing", 401, "No token was sent")
    TOKEN_INVALID = ("token_invalid", 401, "The token is not valid")
    TOKEN_EXPIRED = ("token_expired", 401, "The token has expired")
    TOKEN_REPLAYED = ("token_replayed", 401, "The token was used before")
    APP_DISABLED = ("app_disabled", 401, "The token's app is disabled")
    SCOPE_MISSING = ("scope_missing", 403, "The app lacks the scope of this API")
    STREAM_FORBIDDEN = ("stream_forbidden", 403, "The app may not use this stream")
    ACCOUNT_MISMATCH = ("account_mismatch", 403, "The accountid header names another account")
    REQUEST_TIMEOUT = ("request_timeout", 408, "The body did not come in time")
    BODY_TOO_LARGE = ("body_too_large", 413, "The body is too large")
    UNSUPPORTED_MEDIA_TYPE = ("unsupported_media_type", 415, "The body is not JSON")
    INVALID_REQUEST = ("invalid_request", 422, "The request is not valid")
    CONFLICTING_PARAMETERS = ("conflicting_parameters", 422, "A parameter has two values")
    CALLBACK_URL_FORBIDDEN = ("callback_url_forbidden", 422, "The callbackUrl is not allowed")
    IDEMPOTENCY_KEY_REUSED = ("idempotency_key_reused", 422, "The Idempotency-Key belongs to another request")
    RATE_LIMITED = ("rate_limited", 429, "The account has made too many calls")
    SESSION_NOT_FOUND = ("session_not_found", 404, "No such session in this stream")
    AGENT_NOT_FOUND = ("agent_not_found", 404, "No such agent in this org")
    QUEUE_NOT_FOUND = ("queue_not_found", 404, "No such queue in this org")
    ORG_NOT_FOUND = ("org_not_found", 404, "The stream does not belong to this org")
    SESSION_ALREADY_ASSIGNED = ("session_already_assigned", 409, "The session is with another agent")
    HOLDER_CHANGED = ("holder_changed", 409, "The session is not with the expected agent")
    AGENT_UNAVAILABLE = ("agent_unavailable", 409, "The agent is not available")
    AGENT_AT_CAPACITY = ("agent_at_capacity", 409, "The agent has no free slot")
    SESSION_CLOSED = ("session_closed", 410, "The session is closed")
    SESSION_ID_TAKEN = ("session_id_taken", 409, "The session's id belongs to another stream")
    CONVERSATION_NOT_FOUND = ("conversation_not_found", 404, "No such conversation in this stream")
    TRANSFER_NOT_FOUND = ("transfer_not_found", 404, "No such transfer in this stream")
    AGENT_EXISTS = ("agent_exists", 409, "Another agent of the org has this id, userId or emailId")
    AGENT_HOLDS_SESSIONS = ("agent_holds_sessions", 409, "The agent holds sessions")
    QUEUE_EXISTS = ("queue_exists", 409, "Another queue of the org has this id")
    EVENTS_GONE = ("events_gone", 410, "The events that follow are no longer kept")
    CALLBACK_NOT_FOUND = ("callback_not_found", 404, "No such callback in this stream")
    CALLBACK_IN_FLIGHT = ("callback_in_flight", 409, "The callback is being sent")
    CALLBACK_ENDED = ("callback_ended", 409, "The callback is delivered or dead")
    OVERLOADED = ("overloaded", 503, "The service is overloaded")
    STORE_UNAVAILABLE = ("store_unavailable", 503, "The store did not take the transfer")

    @property
    def code(self) -> str:
        """The stable code that clients match on."""
        return self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]

    @property
    def title(self) -> str:
        """The short sentence that is the same for every occurrence."""
        return self.value[2]

    @property
    def is_recorded(self) -> bool:
        """Whether the refusal is an outcome: written to the store and posted to the callback."""
        return self in _RECORDED


# Those about the conversation itself are outcomes; the others never reach the store.
_RECORDED: Final = frozenset(
    {
        Refusal.SESSION_NOT_FOUND,
        Refusal.AGENT_NOT_FOUND,
        Refusal.QUEUE_NOT_FOUND,
        Refusal.ORG_NOT_FOUND,
        Refusal.SESSION_ALREADY_ASSIGNED,
        Refusal.HOLDER_CHANGED,
        Refusal.AGENT_UNAVAILABLE,
        Refusal.AGENT_AT_CAPACITY,
        Refusal.SESSION_CLOSED,
    }
)
