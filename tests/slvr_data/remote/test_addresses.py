"""Names of places: what is an address, and what of it may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from slvr_data.errors import UsageError
from slvr_data.remote.addresses import address_of, copy_of, local_output, local_path, redacted, rooted, shown, told


def test_a_path_holds_an_address_and_gives_it_back() -> None:
    assert address_of(Path("s3://bucket/a/set")) == "s3://bucket/a/set"
    assert address_of("s3://bucket/a/set/") == "s3://bucket/a/set"
    assert address_of(Path("s3://bucket/a/set") / "data" / "x.parquet") == "s3://bucket/a/set/data/x.parquet"
    assert shown(Path("gs://bucket/set")) == "gs://bucket/set"
    assert rooted(Path("conf"), "s3://bucket/set") == "s3://bucket/set"
    assert rooted(Path("conf"), "set") == "conf/set"


@pytest.mark.parametrize("name", ["set", "/data/set", "./a:b/set", "C:/set", "a/s3:/b", "9x:/y"])
def test_other_names_are_paths_of_this_machine(name: str) -> None:
    assert address_of(Path(name)) is None
    assert local_path(Path(name)) == Path(name)


def test_file_addresses_are_paths_of_this_machine() -> None:
    assert address_of(Path("file:///data/my%20set")) is None
    assert local_path(Path("file:///data/my%20set")) == Path("/data/my set")
    assert shown(Path("file:///data/set")) == "/data/set"


@pytest.mark.parametrize("address", ["abfs://container@account.dfs.core.windows.net/set", "sftp://user@host/set"])
def test_a_container_or_a_user_before_the_host_is_no_credential(address: str) -> None:
    assert address_of(Path(address)) == shown(Path(address)) == redacted(address) == address


def test_what_is_written_on_this_machine_alone_is_no_address() -> None:
    assert local_output(Path("file:///data/out"), "--out") == Path("/data/out")
    assert local_output(Path("out"), "--out") == Path("out")
    with pytest.raises(UsageError, match=r"--to s3://bucket/set is an address: name a place on this machine"):
        local_output(Path("s3://bucket/set"), "--to")


def test_texts_name_a_set_by_its_address_while_its_copy_is_used() -> None:
    with copy_of(Path("/cache/set-0/set"), "s3://bucket/set"):
        assert told("run it on /cache/set-0/set again") == "run it on s3://bucket/set again"
    assert told("run it on /cache/set-0/set again") == "run it on /cache/set-0/set again"


@pytest.mark.parametrize(
    "address",
    [
        "abfs://container:hidden@account/set",
        "s3://AKIA:hidden@bucket/set",
        "https://host/set?token=hidden",
        "s3://hidden@b/s",
    ],
)
def test_a_credential_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="environment variables") as raised:
        address_of(address)
    assert "hidden" not in str(raised.value)
    assert "hidden" not in shown(address)


def test_errors_of_stores_lose_their_secrets() -> None:
    text = (
        'Cannot connect to "https://b.s3.amazonaws.com/set?X-Amz-Credential=hidden&X-Amz-Signature=hidden", '
        "aws_secret_access_key=hidden, token: hidden"
    )
    assert "hidden" not in redacted(text)
    assert redacted("An error (NoSuchKey) in s3://bucket/a=1/set") == "An error (NoSuchKey) in s3://bucket/a=1/set"


@pytest.mark.parametrize(
    "text",
    [
        "aws_session_token=hidden",
        "session_token=hidden, region=eu",
        "access_token: hidden",
        'b\'{"access_token": "hidden", "expires_in": 3599}\'',
        "sas_token=hidden;",
        "api_key=hidden",
        "api-key: 'hidden'",
        "client_secret=hidden&scope=x",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hidden==;EndpointSuffix=core.windows.net",
        "AWSAccessKeyId=hidden",
        "AWS_ACCESS_KEY_ID: hidden",
        "SharedAccessSignature=hidden",
        "key=hidden",
        "Authorization: Bearer hidden",
        "{'Authorization': 'Basic hidden', 'Host': 'b'}",
        "Authorization: hidden",
        "Authorization: SharedKey account:hidden",
        "Authorization: AWS4-HMAC-SHA256 Credential=hidden/20260101/eu/s3, SignedHeaders=host, Signature=hidden",
        "sent with bearer hidden",
        "x" * 100_000 + "-token=hidden",
    ],
)
def test_what_is_named_like_a_credential_is_not_repeated(text: str) -> None:
    assert "hidden" not in redacted(text) and "***" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "NoSuchKey: The specified key does not exist",
        "KeyError: 'region'",
        "[Errno 2] s3://bucket/set/data/attributes/train-0000.parquet: design=1, config: 2, tokens: 3",
        "4 prompt_tokens: 17, keys = 3, authorized by nobody",
        "a" * 100_000,
    ],
)
def test_other_words_stay(text: str) -> None:
    assert redacted(text) == text


def test_an_address_without_a_folder_is_refused() -> None:
    with pytest.raises(UsageError, match=r"s3:// names no folder"):
        address_of("s3:///")
