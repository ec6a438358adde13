"""What the two Amazon services share: clients with bounds, and which errors end a run."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from voicetone.errors import DataError, MissingExtraError, UsageError

TRIES = 5
SECONDS = 60  # of one request
DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "NoSuchBucket",
    "SignatureDoesNotMatch",
    "SubscriptionRequiredException",
    "UnrecognizedClientException",
)


def client_of(service: str, region: str | None) -> Any:
    """A client that tries again a few times, with the credentials that boto3 finds.

    Raises:
        MissingExtraError: boto3 is not installed.
        UsageError: no region, or none of that name.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError:
        raise MissingExtraError(f"Amazon {service.capitalize()}", "aws") from None
    config = Config(
        retries={"total_max_attempts": TRIES, "mode": "standard"},
        connect_timeout=SECONDS,
        read_timeout=SECONDS,
    )
    try:
        return boto3.client(service, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            f"Amazon {service.capitalize()}: {' '.join(str(error).split())}: name a --region"
        ) from None


def host_of(client: Any) -> str:
    """The name of the machine that a client's requests go to."""
    return urlsplit(client.meta.endpoint_url).hostname or ""


def problem_of(error: Exception) -> str:
    """A few words of ours for an error of boto3's that concerns one request.

    Raises:
        DataError: it would be the same for every other request.
    """
    from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        raise DataError("no credentials for Amazon: set them as boto3 finds them") from None
    if not isinstance(error, ClientError):
        return f"no answer ({type(error).__name__})"
    code = str(error.response.get("Error", {}).get("Code", "unknown"))
    if code in DENIED:
        raise DataError(
            f"Amazon refused with {code}: check credentials, rights and names"
        ) from None
    return f"refused with {code}"
