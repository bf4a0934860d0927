"""`hikae jobs`: what was given up is named, shown, and sent again, once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from hikae.domain.model import SiteRole
from hikae.domain.naming import queue_name
from hikae_cli.waiting import QUEUES
from tests.functional.cli.conftest import ACCOUNT, PRIMARY, RECOVERY

REGIONS = {SiteRole.PRIMARY: PRIMARY, SiteRole.RECOVERY: RECOVERY}
DEAD_JOBS = "snapshot-jobs-dead-letters"
FUNCTION = f"arn:aws:lambda:{PRIMARY}:{ACCOUNT}:function:hikae-main-primary-schedule-backups"
BUS = f"arn:aws:events:{RECOVERY}:{ACCOUNT}:event-bus/hikae-main-recovery"
SWEEP = f"arn:aws:sqs:{RECOVERY}:{ACCOUNT}:hikae-main-recovery-wake.fifo"


def job(resource: str = "i-0123456789abcdef0", *, deadline: str = "2099-01-01T00:00:00Z") -> str:
    return json.dumps(
        {
            "version": 1,
            "plan": "production",
            "rule": "hourly",
            "slot": "2026-11-22T10:00:00Z",
            "kind": "snapshot-set",
            "resource": resource,
            "account": ACCOUNT,
            "region": PRIMARY,
            "deadline": deadline,
            "reboot": False,
            "consistency": "crash",
        }
    )


def failed_run(arn: str = FUNCTION, payload: Any = None) -> str:
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": "2026-11-22T10:00:00.000Z",
            "requestContext": {
                "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
                "functionArn": f"{arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": {} if payload is None else payload,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": {"errorType": "Unreachable", "errorMessage": "instances: no answer"},
        }
    )


class Queues:
    """The queues of both sites as the template makes them, looked at with SQS itself."""

    def __init__(self) -> None:
        self.clients = {role: boto3.client("sqs", region_name=region) for role, region in REGIONS.items()}
        for role in SiteRole:
            self.create(role)

    def create(self, role: SiteRole) -> None:
        for queue in QUEUES:
            if role in queue.sites:
                ordered = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
                attributes = ordered if queue.name.endswith(".fifo") else {}
                self.clients[role].create_queue(QueueName=self.name(role, queue.name), Attributes=attributes)

    def name(self, role: SiteRole, queue: str) -> str:
        return queue_name(installation="main", site=role, queue=queue)

    def url(self, queue: str, role: SiteRole = SiteRole.PRIMARY) -> str:
        return str(self.clients[role].get_queue_url(QueueName=self.name(role, queue))["QueueUrl"])

    def put(self, queue: str, body: str, role: SiteRole = SiteRole.PRIMARY, **attributes: str) -> str:
        ordered = {"MessageGroupId": "copies"} if queue.endswith(".fifo") else {}
        answer = self.clients[role].send_message(
            QueueUrl=self.url(queue, role),
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
            **ordered,
        )
        return str(answer["MessageId"])

    def bodies(self, queue: str, role: SiteRole = SiteRole.PRIMARY) -> list[str]:
        """What is in a queue for anybody to take; they are taken."""
        taken = []
        while (
            messages := self.clients[role]
            .receive_message(QueueUrl=self.url(queue, role), MaxNumberOfMessages=10)
            .get("Messages", [])
        ):
            for message in messages:
                taken.append(message["Body"])
                self.clients[role].delete_message(
                    QueueUrl=self.url(queue, role), ReceiptHandle=message["ReceiptHandle"]
                )
        return taken

    def count(self, queue: str, role: SiteRole = SiteRole.PRIMARY) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.clients[role].get_queue_attributes(QueueUrl=self.url(queue, role), AttributeNames=names)
        return int(answer["Attributes"][names[0]]), int(answer["Attributes"][names[1]])


@pytest.fixture
def queues() -> Iterator[Queues]:
    with mock_aws():
        yield Queues()


@pytest.fixture
def invoked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """What Lambda was asked to do; it accepts everything. moto would need Docker for it."""
    calls: list[tuple[str, str, Any]] = []
    really = BaseClient._make_api_call

    def call(client: Any, name: str, arguments: Any) -> Any:
        if name != "Invoke":
            return really(client, name, arguments)
        calls.append((arguments["FunctionName"], arguments["InvocationType"], json.loads(arguments["Payload"])))
        return {"StatusCode": 202}

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return calls


def refuse(monkeypatch: pytest.MonkeyPatch, operation: str, error: Exception, *, times: int = -1) -> None:
    really, left = BaseClient._make_api_call, times

    def call(client: Any, name: str, arguments: Any) -> Any:
        nonlocal left
        if name == operation and left != 0:
            left -= 1
            raise error
        return really(client, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


def denied(operation: str) -> ClientError:
    answer = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    return ClientError(answer, operation)


# --- list -------------------------------------------------------------------------------------------------------------


def test_every_queue_is_listed_and_what_was_given_up_is_named(hikae, queues):
    late = queues.put(DEAD_JOBS, job(deadline="2026-11-22T11:00:00Z"))
    run = queues.put("failed-runs", failed_run())
    result = hikae("jobs", "list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len([line for line in lines if not line.startswith(" ")]) == 7 + 5
    assert "primary snapshot-jobs: 0 waiting" in lines
    assert "recovery wake-dead-letters.fifo: 0 waiting" in lines
    [job_line] = [line for line in lines if late in line]
    assert job_line.endswith(
        "production/hourly 2026-11-22T10:00:00Z of i-0123456789abcdef0; its deadline 2026-11-22T11:00:00Z has passed: "
        "it would be reported as missed, not made"
    )
    [run_line] = [line for line in lines if run in line]
    assert run_line.endswith("hikae-main-primary-schedule-backups failed: Unreachable: instances: no answer")


def test_a_look_takes_nothing_away(hikae, queues):
    for number in range(12):
        queues.put(DEAD_JOBS, job(f"i-{number}"))
    for _ in range(2):
        assert hikae("jobs", "list", "--site", "primary").stdout.count("production/hourly") == 12
    assert queues.count(DEAD_JOBS) == (12, 0)


def test_a_look_does_not_count_against_the_jobs_that_still_wait(hikae, queues):
    queues.put("snapshot-jobs", job())
    assert "primary snapshot-jobs: 1 waiting\n" in hikae("jobs", "list", "--site", "primary").stdout
    [message] = queues.clients[SiteRole.PRIMARY].receive_message(
        QueueUrl=queues.url("snapshot-jobs"), AttributeNames=["ApproximateReceiveCount"], VisibilityTimeout=0
    )["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_who_asks_for_them_sees_the_jobs_that_wait_and_not_the_wake_ups(hikae, queues):
    queues.put("snapshot-jobs", job("i-waiting"))
    queues.put("wake.fifo", '{"detail-type": "Scheduled Event"}', SiteRole.RECOVERY)
    result = hikae("jobs", "list", "--waiting")
    assert "of i-waiting" in result.stdout
    assert "Scheduled Event" not in result.stdout
    assert "recovery wake.fifo: 1 waiting" in result.stdout
    assert queues.count("snapshot-jobs") == (1, 0)


def test_the_list_as_json_has_every_part(hikae, queues):
    message_id = queues.put(DEAD_JOBS, job())
    lines = hikae("jobs", "list", "--site", "primary", "--json").stdout.splitlines()
    by_name = {queue["queue"]: queue for queue in map(json.loads, lines)}
    assert by_name["failed-runs"]["messages"] == []
    assert by_name["failed-runs"]["oldest_seconds"] is None
    dead = by_name[DEAD_JOBS]
    assert (dead["site"], dead["region"], dead["waiting"], dead["in_hand"]) == ("primary", PRIMARY, 1, 0)
    assert 0 <= dead["oldest_seconds"] < 60
    [message] = dead["messages"]
    assert message["id"] == message_id
    assert {key: message[key] for key in ("plan", "rule", "slot", "resource", "deadline", "is_past_deadline")} == {
        "plan": "production",
        "rule": "hourly",
        "slot": "2026-11-22T10:00:00Z",
        "resource": "i-0123456789abcdef0",
        "deadline": "2099-01-01T00:00:00Z",
        "is_past_deadline": False,
    }


@pytest.mark.parametrize("body", ["not JSON", "[]", '{"version": 9}', '{"requestContext": 1}', "\x1b[2J"])
def test_what_nobody_understands_is_listed_all_the_same(hikae, queues, body):
    for queue in (DEAD_JOBS, "failed-runs", "schedule-dead-letters"):
        queues.put(queue, body)
    result = hikae("jobs", "list", "--site", "primary")
    assert result.exit_code == 0
    assert "no job: " in result.stdout
    assert "no record of a failed run" in result.stdout
    assert "\x1b" not in result.stdout


# --- show -------------------------------------------------------------------------------------------------------------


def test_a_message_is_shown_whole(hikae, queues):
    attributes = {
        "SCHEDULE_ARN": f"arn:aws:scheduler:{PRIMARY}:{ACCOUNT}:schedule/default/hikae-main-primary-tick",
        "TARGET_ARN": FUNCTION,
        "ERROR_CODE": "AWS.Scheduler.InternalServerError",
        "ERROR_MESSAGE": "it rained",
        "SCHEDULED_TIME": "2026-11-22T10:00:00Z",
    }
    message_id = queues.put("schedule-dead-letters", "{}", **attributes)
    result = hikae("jobs", "show", message_id)
    assert result.exit_code == 0
    assert "hikae-main-primary-tick did not reach hikae-main-primary-schedule-backups" in result.stdout
    assert "AWS.Scheduler.InternalServerError: it rained" in result.stdout
    assert "to function hikae-main-primary-schedule-backups" in result.stdout
    document = json.loads(hikae("jobs", "show", message_id, "--json").stdout)
    assert document["attributes"] == attributes
    assert (document["body"], document["queue"], document["receives"]) == ("{}", "schedule-dead-letters", 2)
    assert queues.count("schedule-dead-letters") == (1, 0)


def test_a_message_that_is_not_there_is_said_not_to_be(hikae, queues):
    result = hikae("jobs", "show", "nothing")
    assert result.exit_code == 1
    assert result.stderr == "Error: nothing: no such message was given up; `hikae jobs list` names those that were\n"


# --- redrive ----------------------------------------------------------------------------------------------------------


def test_jobs_go_back_to_their_queue_and_are_gone_from_the_dead_letters(hikae, queues):
    for number in range(12):
        queues.put(DEAD_JOBS, job(f"i-{number}"))
    queues.put("image-jobs-dead-letters", job("i-image"))
    result = hikae("jobs", "redrive", "--queue", DEAD_JOBS, "--yes")
    assert result.exit_code == 0
    assert result.stdout.count("\nsent ") == 12
    assert sorted(json.loads(body)["resource"] for body in queues.bodies("snapshot-jobs")) == sorted(
        f"i-{number}" for number in range(12)
    )
    assert queues.count(DEAD_JOBS) == (0, 0)
    assert queues.count("image-jobs-dead-letters") == (1, 0)


def test_one_message_can_be_sent_again_by_its_id_and_the_others_stay(hikae, queues):
    ids = [queues.put(DEAD_JOBS, job(f"i-{number}")) for number in range(3)]
    assert hikae("jobs", "redrive", ids[1], "--yes").exit_code == 0
    assert [json.loads(body)["resource"] for body in queues.bodies("snapshot-jobs")] == ["i-1"]
    assert queues.count(DEAD_JOBS) == (2, 0)


def test_a_run_is_invoked_again_with_what_it_was_invoked_with(hikae, queues, invoked):
    queues.put("failed-runs", failed_run(payload={"dry_run": True}))
    assert hikae("jobs", "redrive", "--all", "--yes").exit_code == 0
    assert invoked == [("hikae-main-primary-schedule-backups", "Event", {"dry_run": True})]
    assert queues.count("failed-runs") == (0, 0)


def test_a_delivery_goes_to_the_target_that_it_did_not_reach(hikae, queues, invoked):
    queues.put("schedule-dead-letters", '{"now": 1}', TARGET_ARN=FUNCTION, SCHEDULE_ARN="a/tick")
    queues.put("schedule-dead-letters", '{"id": "1"}', SiteRole.RECOVERY, TARGET_ARN=SWEEP, SCHEDULE_ARN="a/sweep")
    queues.put("event-dead-letters", '{"id": "2"}', SiteRole.RECOVERY, TARGET_ARN=SWEEP, RULE_ARN="a/ready")
    assert hikae("jobs", "redrive", "--all", "--yes").exit_code == 0
    assert invoked == [("hikae-main-primary-schedule-backups", "Event", {"now": 1})]
    assert sorted(queues.bodies("wake.fifo", SiteRole.RECOVERY)) == ['{"id": "1"}', '{"id": "2"}']


def test_a_wake_up_goes_back_into_its_group(hikae, queues):
    queues.put("wake-dead-letters.fifo", '{"id": "1"}', SiteRole.RECOVERY)
    assert hikae("jobs", "redrive", "--queue", "wake-dead-letters.fifo", "--yes").exit_code == 0
    [message] = queues.clients[SiteRole.RECOVERY].receive_message(
        QueueUrl=queues.url("wake.fifo", SiteRole.RECOVERY), AttributeNames=["All"]
    )["Messages"]
    assert message["Attributes"]["MessageGroupId"] == "copies"


def test_what_a_fifo_queue_does_not_show_yet_is_said_to_be_behind(hikae, queues):
    for number in range(12):
        queues.put("wake-dead-letters.fifo", json.dumps({"id": number}), SiteRole.RECOVERY)
    first = hikae("jobs", "redrive", "--all", "--yes")
    sent = first.stdout.count("\nsent ")
    assert first.stderr == ("" if sent == 12 else f"about {12 - sent} more were behind these; redrive again for them\n")
    hikae("jobs", "redrive", "--all", "--yes")
    assert queues.count("wake-dead-letters.fifo", SiteRole.RECOVERY) == (0, 0)
    assert queues.count("wake.fifo", SiteRole.RECOVERY) == (12, 0)


def test_a_dry_run_says_what_would_go_where_and_sends_nothing(hikae, queues, invoked):
    queues.put(DEAD_JOBS, job(deadline="2026-11-22T11:00:00Z"))
    queues.put("failed-runs", failed_run())
    result = hikae("jobs", "redrive", "--all", "--dry-run")
    assert result.exit_code == 0
    assert "its deadline 2026-11-22T11:00:00Z has passed" in result.stdout
    assert "to queue hikae-main-primary-snapshot-jobs" in result.stdout
    assert invoked == []
    assert (queues.count(DEAD_JOBS), queues.count("snapshot-jobs")) == ((1, 0), (0, 0))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (("failed-runs", failed_run(FUNCTION.replace("main-", "other-"))), "is not a function of this site"),
        (("failed-runs", failed_run(FUNCTION.replace(ACCOUNT, "999999999999"))), "is not a function of this site"),
        (("failed-runs", "{}"), "it does not say what was invoked"),
        (("schedule-dead-letters", "not JSON", FUNCTION), "what it was invoked with is not JSON"),
        (("schedule-dead-letters", "{}", FUNCTION, "true"), "what was to be delivered was cut off"),
        (("schedule-dead-letters", "{}", SWEEP), "is not a queue of this site"),
        (("schedule-dead-letters", "{}"), "it does not say what it was for"),
        (("event-dead-letters", "{}", BUS), "EventBridge takes AWS's own events from nobody else"),
    ],
    ids=lambda each: each if isinstance(each, str) else each[0],
)
def test_what_cannot_go_anywhere_stays_and_the_reason_is_said(hikae, queues, invoked, message, why):
    queue, body, *rest = message
    queues.put(queue, body, **dict(zip(("TARGET_ARN", "IS_PAYLOAD_TRUNCATED"), rest, strict=False)))
    result = hikae("jobs", "redrive", "--site", "primary", "--all", "--yes")
    assert result.exit_code == 1
    assert why in result.stdout
    assert result.stderr == "Error: 1 of 1 were not sent again\n"
    assert queues.count(queue) == (1, 0)
    assert invoked == []


def test_what_is_not_accepted_stays_and_the_others_go(hikae, queues, monkeypatch):
    for number in range(3):
        queues.put(DEAD_JOBS, job(f"i-{number}"))
    refuse(monkeypatch, "SendMessage", denied("SendMessage"), times=1)
    result = hikae("jobs", "redrive", "--all", "--yes")
    assert result.exit_code == 1
    assert "AccessDenied no; give credentials" in result.stdout
    assert "sqs:SendMessage" in result.stdout
    assert result.stderr == "Error: 1 of 3 were not sent again\n"
    assert len(queues.bodies("snapshot-jobs")) == 2
    assert queues.count(DEAD_JOBS) == (1, 0)


def test_a_message_is_deleted_only_after_it_was_accepted(hikae, queues, monkeypatch):
    queues.put(DEAD_JOBS, job())
    refuse(monkeypatch, "DeleteMessage", EndpointConnectionError(endpoint_url="https://sqs"), times=1)
    result = hikae("jobs", "redrive", "--all", "--yes")
    assert result.exit_code == 1
    assert "it was accepted, and is still in the queue; once more does no harm" in result.stdout
    assert queues.count(DEAD_JOBS) == (1, 0)
    assert len(queues.bodies("snapshot-jobs")) == 1


def test_somebody_at_a_terminal_is_asked(hikae, queues, monkeypatch):
    monkeypatch.setattr("hikae_cli.job_commands.is_interactive", lambda: True)
    queues.put(DEAD_JOBS, job())
    declined = hikae("jobs", "redrive", "--all", stdin="n\n")
    assert declined.exit_code == 1
    assert "Send 1 message again? [y/N]: n" in declined.stdout
    assert declined.stderr == "Error: nothing was sent\n"
    assert queues.count(DEAD_JOBS) == (1, 0)
    assert hikae("jobs", "redrive", "--all", stdin="y\n").exit_code == 0
    assert queues.count(DEAD_JOBS) == (0, 0)


def test_with_nobody_to_ask_nothing_is_sent(hikae, queues):
    queues.put(DEAD_JOBS, job())
    result = hikae("jobs", "redrive", "--all")
    assert result.exit_code == 2
    assert "nobody to ask, so nothing was sent; give --yes to send 1 message again" in result.stderr
    assert queues.count(DEAD_JOBS) == (1, 0)


def test_redriving_as_json_is_a_line_a_message(hikae, queues, invoked):
    queues.put("failed-runs", failed_run())
    queues.put("failed-runs", "{}")
    result = hikae("jobs", "redrive", "--all", "--yes", "--json")
    assert result.exit_code == 1
    outcomes = {each["outcome"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert outcomes.keys() == {"sent", "refused"}
    assert outcomes["sent"]["to"] == "function hikae-main-primary-schedule-backups"


def test_where_nothing_was_given_up_there_is_nothing_to_do(hikae, queues):
    result = hikae("jobs", "redrive", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "nothing was given up\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "say what to send again: MESSAGE-ID..., --queue or --all, one of them"),
        (("--all", "--queue", DEAD_JOBS), "one of them"),
        (("--queue", "snapshot-jobs"), "'snapshot-jobs' is not one of"),
        (("--all", "--installation", "Main"), "'Main' is not an installation"),
        (("--all", "--region", "us-east-1"), "--region is for a single site"),
    ],
)
def test_wrong_usage_exits_with_2(hikae, queues, arguments, problem):
    result = hikae("jobs", "redrive", *arguments)
    assert result.exit_code == 2
    assert problem in result.output


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_site_that_is_not_there_is_named_with_the_remedy(hikae, queues):
    result = hikae("jobs", "list", "--site", "primary", "--installation", "other")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: queue hikae-other-primary-failed-runs (account {ACCOUNT}, Region {PRIMARY}): there is no such queue; "
        "deploy the primary site of installation other there, or check --installation, the Region and the account\n"
    )


def test_a_primary_without_rules_has_no_queue_for_events_and_that_is_no_problem(hikae, queues):
    queues.clients[SiteRole.PRIMARY].delete_queue(QueueUrl=queues.url("event-dead-letters"))
    result = hikae("jobs", "list", "--site", "primary")
    assert result.exit_code == 0
    assert "event-dead-letters" not in result.stdout


@pytest.fixture
def primary_is_gone(monkeypatch):
    """No endpoint of the primary's Region answers."""
    really = BaseClient._make_api_call

    def call(client, name, arguments):
        if client.meta.region_name == PRIMARY:
            raise EndpointConnectionError(endpoint_url=f"https://{PRIMARY}")
        return really(client, name, arguments)

    def begin():
        monkeypatch.setattr(BaseClient, "_make_api_call", call)

    return begin


def test_with_the_primary_gone_the_recovery_sites_queues_are_listed(hikae, queues, primary_is_gone):
    there = queues.put("failed-runs", "{}", SiteRole.RECOVERY)
    primary_is_gone()
    result = hikae("jobs", "list")
    assert result.exit_code == 1
    assert "recovery failed-runs: 1 waiting" in result.stdout
    assert f"  {there}  " in result.stdout
    assert "primary" not in result.stdout
    assert result.stderr.startswith(f"Error: account unknown: STS in Region {PRIMARY}: unreachable")
    assert result.stderr.count("\n") == 1
    told = [json.loads(line) for line in hikae("jobs", "list", "--json").stdout.splitlines()]
    assert {each["site"] for each in told} == {"recovery"}


def test_with_the_primary_gone_what_the_recovery_site_has_given_up_is_shown_and_sent(hikae, queues, primary_is_gone):
    there = queues.put("wake-dead-letters.fifo", "{}", SiteRole.RECOVERY)
    elsewhere = queues.put("failed-runs", "{}")
    primary_is_gone()
    shown = hikae("jobs", "show", there)
    assert (shown.exit_code, shown.stderr) == (0, "")
    for command in (("show",), ("redrive", "--yes")):
        result = hikae("jobs", *command, elsewhere)
        assert result.exit_code == 1
        assert f"STS in Region {PRIMARY}: unreachable" in result.stderr
        assert f"{elsewhere}: no such message was given up at a site that answers" in result.stderr
    result = hikae("jobs", "redrive", "--all", "--yes")
    assert result.exit_code == 1
    assert f"sent {there} to " in result.stdout
    assert f"STS in Region {PRIMARY}: unreachable" in result.stderr


def test_what_aws_refuses_is_said_with_its_place_and_remedy(hikae, queues, monkeypatch):
    refuse(monkeypatch, "ReceiveMessage", denied("ReceiveMessage"))
    result = hikae("jobs", "list", "--site", "primary")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"Error: hikae-main-primary-snapshot-jobs-dead-letters (account {ACCOUNT}, Region {PRIMARY}): AccessDenied "
        "no; give credentials of the site's administrator"
    )
    assert "sqs:ReceiveMessage" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_installed_command_fails_in_one_line_where_nothing_listens():
    command = [str(Path(sys.executable).with_name("hikae")), "jobs", "list"]
    environment = os.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    primary, recovery = result.stderr.splitlines()
    assert primary.startswith(f"Error: account unknown: STS in Region {PRIMARY}: unreachable (")
    assert recovery.startswith(f"Error: account unknown: STS in Region {RECOVERY}: unreachable (")
