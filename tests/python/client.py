"""Calls `echo.Echo` with Python's grpcio, and prints what it sees as one line of JSON.

    client.py ADDRESS see   calls until it is refused, and prints the refusal
    client.py ADDRESS wait  calls three times with a retry policy, and prints what became of each call
"""

import json
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# What the guide to retries suggests, and as many attempts as gRPC allows.
RETRYING = {
    "methodConfig": [
        {
            "name": [{"service": "echo.Echo"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.01s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


def main(address: str, what: str) -> None:
    options = [("grpc.enable_http_proxy", 0)]
    if what == "wait":
        options += [("grpc.enable_retries", 1), ("grpc.service_config", json.dumps(RETRYING))]
    with grpc.insecure_channel(address, options) as channel:
        report = see(channel) if what == "see" else wait(channel)
    print(json.dumps(report))


def say(channel: grpc.Channel, text: str) -> str:
    """Calls the method by hand: a message of one text is its field 1."""
    method = channel.unary_unary(
        "/echo.Echo/Say",
        request_serializer=lambda text: bytes([0x0A, len(text)]) + text.encode(),
        response_deserializer=lambda message: message[2:].decode(),
    )
    return method(text, metadata=[("x-tenant", "acme")], timeout=60)


def see(channel: grpc.Channel) -> dict:
    answers = []
    while True:
        try:
            answers.append(say(channel, f"call {len(answers)}"))
        except grpc.RpcError as refused:
            return {"answers": answers, **seen(refused)}


def seen(refused: grpc.RpcError) -> dict:
    status = rpc_status.from_call(refused)
    details = {}
    for kind in (error_details_pb2.RetryInfo, error_details_pb2.QuotaFailure, error_details_pb2.ErrorInfo):
        for detail in status.details:
            if detail.Is(kind.DESCRIPTOR):
                details[kind.DESCRIPTOR.name] = message = kind()
                detail.Unpack(message)
    return {
        "code": refused.code().name,
        "message": refused.details(),
        "initial": [name for name, _ in refused.initial_metadata()],
        "trailing": {name: value for name, value in refused.trailing_metadata() if isinstance(value, str)},
        "retry_delay_ms": details["RetryInfo"].retry_delay.ToMilliseconds(),
        "violations": [[found.subject, found.description] for found in details["QuotaFailure"].violations],
        "reason": details["ErrorInfo"].reason,
        "domain": details["ErrorInfo"].domain,
    }


def wait(channel: grpc.Channel) -> dict:
    answers = []
    for number in range(3):
        try:
            answers.append(say(channel, f"call {number}"))
        except grpc.RpcError as refused:
            answers.append(refused.code().name)
    return {"answers": answers}


if __name__ == "__main__":
    main(*sys.argv[1:])
