"""AWS Signature Version 4 of a request, checked: who sent it, and that nobody changed it.

After "Create a signed AWS API request" of the AWS General Reference. Only the form with an
`Authorization` header over the whole body is taken; links that carry their signature, bodies that
are not signed and session tokens are refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from voicetone.server.refusal import RefusedError

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "chime"
SKEW_SECONDS = 300.0
"""How far the sender's clock may be off, as AWS has it."""

MOST_AUTHORIZATION = 4096  # characters
MOST_HEADERS = 100
MOST_PATH = 8192  # bytes, of path and query each

_FIELD = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<scope>[^\s,]{1,300}), *"
    r"SignedHeaders=(?P<headers>[a-z0-9;_\-]{1,2000}), *Signature=(?P<signature>[0-9a-f]{64})"
)
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HASH = re.compile(r"[0-9a-f]{64}")
_NOBODY = b"a key that nobody has, so that an unknown name takes as long as a wrong signature"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came.

    Args:
        method: such as POST.
        path: as on the wire, percent signs and all.
        query: the same, without its question mark.
        headers: lower-case name and value, in order.
        body: all of it.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header; None where there is none.

        Raises:
            RefusedError: it comes twice.
        """
        found = [value for key, value in self.headers if key == name]
        if len(found) > 1:
            raise RefusedError("bad_request", f"the header {name} comes twice: send it once")
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Claim:
    """What an `Authorization` header says: who, for what, over which headers."""

    access_key: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        """What the signing key is for."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def parse_authorization(text: str) -> Claim:
    """Read an `Authorization` header.

    Raises:
        RefusedError: it is none of Signature Version 4.
    """
    match = _FIELD.fullmatch(text.strip()) if len(text) <= MOST_AUTHORIZATION else None
    # The name of a key may hold slashes; the four parts behind it don't.
    parts = match["scope"].rsplit("/", 4) if match else []
    if match is None or len(parts) != 5 or parts[4] != "aws4_request" or not parts[0]:
        raise _no("the Authorization header is none of AWS Signature Version 4")
    return Claim(
        access_key=unquote_to_bytes(parts[0]).decode("utf-8", "replace"),
        date=parts[1],
        region=parts[2],
        service=parts[3],
        signed=tuple(match["headers"].split(";")),
        signature=match["signature"],
    )


def verify(
    request: Request,
    secret_of: Callable[[str], bytes | None],
    region: str,
    now: float,
    service: str = SERVICE,
) -> str:
    """Check the signature of a request.

    Args:
        request: as it came.
        secret_of: access key id → secret access key; None where nobody has that name.
        region: that the signature must be for.
        now: seconds since 1970.
        service: that the signature must be for.

    Returns:
        The access key id of the sender.

    Raises:
        RefusedError: unauthorised, whatever is wrong with it; bad_request for what is no request.
    """
    _check_size(request)
    authorization = request.header("authorization")
    if authorization is None:
        raise _no("the request is not signed: give the client an access key")
    claim = parse_authorization(authorization)
    moment = _moment(request)
    _check_scope(claim, moment, region, service)
    _check_age(moment, now)
    _check_headers(request, claim)
    text = string_to_sign(claim, moment, canonical_request(request, claim.signed))
    secret = secret_of(claim.access_key)
    wanted = signature_of(_NOBODY if secret is None else secret, claim, text)
    same = hmac.compare_digest(wanted.encode(), claim.signature.encode())
    if secret is None or not same:
        raise _no(
            "the signature does not match: check access key id and secret, and that no proxy "
            "changes path, query, Host or body"
        )
    return claim.access_key


def canonical_request(request: Request, signed: Sequence[str]) -> str:
    """The request in the one form that both sides sign."""
    lines = [
        request.method.upper(),
        canonical_path(request.path),
        canonical_query(request.query),
    ]
    for name in signed:
        values = [" ".join(value.split()) for key, value in request.headers if key == name]
        lines.append(f"{name}:{','.join(values)}")
    lines += ["", ";".join(signed), hashlib.sha256(request.body).hexdigest()]
    return "\n".join(lines)


def canonical_path(path: str) -> str:
    """The path with its percent signs encoded once more, as all services but S3 have it."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    end = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


def canonical_query(query: str) -> str:
    """The query's pairs, each encoded in the one way, in order."""
    pairs = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def string_to_sign(claim: Claim, moment: str, canonical: str) -> str:
    """What the signature is made over."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join([ALGORITHM, moment, claim.scope, digest])


def signature_of(secret: bytes, claim: Claim, text: str) -> str:
    """The signature, in hexadecimal."""
    key = b"AWS4" + secret
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _check_size(request: Request) -> None:
    if (
        len(request.headers) > MOST_HEADERS
        or max(len(request.path), len(request.query)) > MOST_PATH
    ):
        raise RefusedError("bad_request", "too many headers, or too long a path: send fewer")


def _moment(request: Request) -> str:
    """When the request was signed, as `20261121T224500Z`."""
    text = request.header("x-amz-date")
    if text is None:
        raise _no("the header x-amz-date is missing: sign with the current time")
    if not _DATE.fullmatch(text.strip()):
        raise _no("the header x-amz-date is no time such as 20261121T224500Z")
    return text.strip()


def _check_scope(claim: Claim, moment: str, region: str, service: str) -> None:
    if claim.service != service:
        raise _no(f"signed for the service {_short(claim.service)}: it must be {service}")
    if claim.region != region:
        raise _no(f"signed for the region {_short(claim.region)}: here it is {region}")
    if claim.date != moment[:8]:
        raise _no("the day of the signature is not that of x-amz-date")


def _check_age(moment: str, now: float) -> None:
    try:
        signed = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _no("the header x-amz-date is no time such as 20261121T224500Z") from None
    if abs(now - signed.timestamp()) > SKEW_SECONDS:
        raise _no(
            f"signed more than {SKEW_SECONDS / 60:g} minutes ago or ahead: set the clock, and "
            "sign each request anew"
        )


def _check_headers(request: Request, claim: Claim) -> None:
    """What says something about the request must be signed, and the body's hash be the body's."""
    if list(claim.signed) != sorted(set(claim.signed)):
        raise _no("the signed headers are not in order, each once")
    present = {name for name, _ in request.headers}
    missing = [name for name in claim.signed if name not in present]
    if missing:
        raise _no(f"the header {_short(missing[0])} is signed and not there")
    must = {"host", *(name for name in present if name.startswith("x-amz-"))}
    must |= {"content-type"} & present
    if unsigned := sorted(must - set(claim.signed)):
        raise _no(f"the header {_short(unsigned[0])} is not signed")
    if "x-amz-security-token" in present:
        raise _no("session tokens are not known here: use a long-term access key")
    said = request.header("x-amz-content-sha256")
    if said is None:
        return
    if not _HASH.fullmatch(said):
        raise _no("the body is not signed: switch payload signing on")
    if not hmac.compare_digest(said, hashlib.sha256(request.body).hexdigest()):
        raise _no("the body is not the one that was signed")


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="-_.~")


def _short(text: str) -> str:
    """Somebody else's words, fit for one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:40])


def _no(message: str) -> RefusedError:
    return RefusedError("unauthorised", message)
