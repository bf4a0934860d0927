"""The security rules of this application as questions to a site; each answers with what breaks it, in words."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.sites import Site, as_list, target

INSTALLATION = "main"
DAY = 86_400
DELETING = {"ec2:DeleteSnapshot", "ec2:DeregisterImage"}
CREATING = {
    "ec2:CreateSnapshot",
    "ec2:CreateSnapshots",
    "ec2:CreateImage",
    "ec2:CopySnapshot",
    "ec2:CopyImage",
}
MAKING = {
    "ec2:CreateSecurityGroup",
    "ec2:CreateVolume",
    "ec2:CreateVpcEndpoint",
    "ec2:RegisterImage",
    "ec2:RunInstances",
}
"""What a restore or drill makes things with."""
REMOVING = {
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteVolume",
    "ec2:DeleteVpcEndpoints",
    "ec2:DeregisterImage",
    "ec2:TerminateInstances",
}
RUNS = {"hikae:drill": REMOVING, "hikae:recovery": {"ec2:DeregisterImage"}}
"""The tags of runs, each with what may be done to what carries it."""
MADE_BY_RUNS = ("image/*", "instance/*", "volume/*", "vpc-endpoint/*")
GIVING_BACK = {
    "StringLike": {"aws:ResourceTag/hikae:recovery": f"{INSTALLATION}/*"},
    "ForAllValues:StringNotLike": {"aws:TagKeys": ["hikae:*"]},
}
"""How what a restore has made may be tagged later."""
OWN_TAG = "aws:RequestTag/hikae:installation"
FUNCTION = "AWS::Lambda::Function"
ROLE = "AWS::IAM::Role"
QUEUE = "AWS::SQS::Queue"


def shared_roles(site: Site) -> Iterator[str]:
    """One role per function, and no role of anything else's."""
    roles = [site.role_of(function) for function in site.of_type(FUNCTION)]
    for role in sorted(set(roles)):
        if roles.count(role) > 1:
            yield f"{role} is the role of {roles.count(role)} functions"
        if role not in site.of_type(ROLE):
            yield f"{role} is not a role of this template"


def wildcard_actions(site: Site) -> Iterator[str]:
    """No statement allows a wildcard action, in whatever kind of policy."""
    for name, statement in _policy_statements(site):
        if statement["Effect"] == "Allow":
            yield from (f"{name} allows {action}" for action in _actions(statement) if "*" in action)
            if "NotAction" in statement:
                yield f"{name} allows all but some actions"


def managed_policies(site: Site) -> Iterator[str]:
    """What a role may do is written in this template, not in a managed policy."""
    for name, role in site.of_type(ROLE).items():
        if role.get("ManagedPolicyArns"):
            yield f"{name} has managed policies"
    yield from (f"{name} stands apart from its role" for name in site.of_type("AWS::IAM::Policy"))


def passed_roles(site: Site) -> Iterator[str]:
    """Only recovery passes roles on, only those it was told, and only to EC2."""
    for name, statement in _role_statements(site):
        if "iam:PassRole" in _actions(statement):
            if name != "RecoverRole" or "*" in as_list(statement["Resource"]):
                yield f"{name} may pass roles"
            if statement.get("Condition") != {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}:
                yield f"{name} may pass roles to anything"


UNSCOPED = {
    "ec2:GetLaunchTemplateData",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "rbin:ListRules",
    "servicequotas:ListAWSDefaultServiceQuotas",
    "servicequotas:ListServiceQuotas",
    "ssm:GetCommandInvocation",
    "ssm:ListCommands",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}
"""Reading actions, and those of an agent about itself, that take no resource:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsrecyclebin.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_servicequotas.html
https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-instance-permissions.html
"""


def open_resources(site: Site) -> Iterator[str]:
    """Only describing calls, which take no resource, are allowed on everything."""
    for name, statement in _role_statements(site):
        if "*" in as_list(statement["Resource"]) and statement["Effect"] == "Allow":
            yield from (
                f"{name} may {action} on everything"
                for action in _actions(statement)
                if not action.startswith(("ec2:Describe", "autoscaling:Describe")) and action not in UNSCOPED
            )


def loose_deletions(site: Site) -> Iterator[str]:
    """Only pruning deletes, and only what is this installation's, of this site, of this Region and not on hold."""
    prune = site.role_of("PruneRecoveryPoints")
    is_copy = {"primary": "true", "recovery": "false"}[site.name]
    wanted = {
        "StringEquals": {"aws:ResourceTag/hikae:installation": INSTALLATION},
        "Null": {"aws:ResourceTag/hikae:hold": "true", "aws:ResourceTag/hikae:copy-of": is_copy},
    }
    for name, statement in _role_statements(site):
        for action in _actions(statement):
            if action == "ec2:DeleteTags" or (action in REMOVING - DELETING and name != "RecoverRole"):
                yield f"{name} may {action}"
            if action in REMOVING and name == "RecoverRole":
                yield from _loose_teardown(site, name, action, statement)
                continue
            if action not in DELETING:
                continue
            if name != prune:
                yield f"{name} may {action}; only {prune} may"
            if statement.get("Condition") != wanted:
                yield f"{name} may {action} under {statement.get('Condition')}"
            yield from _outside(site, name, action, statement)


def _loose_teardown(site: Site, name: str, action: str, statement: dict[str, Any]) -> Iterator[str]:
    """A run of this installation removes what such a run has made, and nothing else; a restore only its images."""
    like = statement.get("Condition", {}).get("StringLike", {})
    tags = [tag for tag in RUNS if like == {f"aws:ResourceTag/{tag}": f"{INSTALLATION}/*"}]
    if not tags or action not in RUNS[tags[0]]:
        yield f"{name} may {action} under {statement.get('Condition')}"
    yield from _outside(site, name, action, statement)


def loose_tagging(site: Site) -> Iterator[str]:
    """Tags are given while creating: else a role could tag its way to deletion.

    A volume of an own restore gets its other tags later, of which none is hikae's.
    """
    for name, statement in _role_statements(site):
        if "ec2:CreateTags" in _actions(statement):
            if name == "RecoverRole" and statement.get("Condition") == GIVING_BACK:
                if any(":volume/" not in resource for resource in _resources(statement)):
                    yield f"{name} may tag {statement['Resource']} at any time"
                yield from _outside(site, name, "ec2:CreateTags", statement)
                continue
            conditions = statement.get("Condition", {}).get("StringEquals", {})
            created = {f"ec2:{action}" for action in as_list(conditions.get("ec2:CreateAction", []))}
            own = {action for each in site.statements(name) for action in _actions(each) if action in CREATING | MAKING}
            if not created or created - own:
                yield f"{name} may tag in {sorted(created) or 'any call'}, it creates in {sorted(own)}"
            yield from _outside(site, name, "ec2:CreateTags", statement)


def untagged_creations(site: Site) -> Iterator[str]:
    """Whatever is created carries this installation's tag, and is created in the site's own Region."""
    for name, statement in _role_statements(site):
        for action in _actions(statement) & CREATING:
            for resource in _resources(statement):
                is_source = resource.split(":")[-1].startswith(("instance/", "volume/", "snapshot/snap-", "image/ami-"))
                is_tagged = statement.get("Condition", {}).get("StringEquals", {}).get(OWN_TAG) == INSTALLATION
                if not is_source and not is_tagged:
                    yield f"{name} may {action} {resource} without the installation's tag"
                if not is_source and _region(resource) != site.region:
                    yield f"{name} may {action} {resource} in another Region"


def untagged_runs(site: Site) -> Iterator[str]:
    """Whatever a restore or drill makes carries the run's tag, which is how it can be found and removed."""
    for name, statement in _role_statements(site):
        for action in _actions(statement) & MAKING:
            like = statement.get("Condition", {}).get("StringLike", {})
            is_tagged = any(like == {f"aws:RequestTag/{tag}": f"{INSTALLATION}/*"} for tag in RUNS)
            is_source = any(
                "aws:ResourceTag/" in key for each in statement.get("Condition", {}).values() for key in each
            )
            for resource in _resources(statement):
                is_made = resource.split(":")[-1].endswith(MADE_BY_RUNS)
                if is_made and not is_tagged and not (is_source and resource.endswith("image/*")):
                    yield f"{name} may {action} {resource} without the run's tag"


GROUP_RULES = {
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
}


def loose_groups(site: Site) -> Iterator[str]:
    """Only the security groups that drills have made get rules, and each is made with its drill's tag."""
    of_drills = {"StringLike": {"aws:ResourceTag/hikae:drill": f"{INSTALLATION}/*"}}
    while_made = {"StringLike": {"aws:RequestTag/hikae:drill": f"{INSTALLATION}/*"}}
    for name, statement in _role_statements(site):
        if _actions(statement) & GROUP_RULES and statement.get("Condition") != of_drills:
            yield f"{name} may give rules to any security group"
        is_made = any(":security-group/" in resource for resource in _resources(statement))
        makes = "ec2:CreateSecurityGroup" in _actions(statement)
        if makes and is_made and statement.get("Condition") != while_made:
            yield f"{name} may make security groups without a drill's tag"


def open_drills(site: Site) -> Iterator[str]:
    """The drills' network leads nowhere: no gateway, no peering, no route, and each group only to the next."""
    for kind in (
        "InternetGateway",
        "NatGateway",
        "VPCPeeringConnection",
        "TransitGatewayAttachment",
        "Route",
        "VPCEndpoint",
    ):
        yield from (f"{name} leads out" for name in site.of_type(f"AWS::EC2::{kind}"))
    for name, subnet in site.of_type("AWS::EC2::Subnet").items():
        if subnet.get("MapPublicIpOnLaunch") is not False:
            yield f"{name} gives out public addresses"
    rules: list[tuple[str, dict[str, Any]]] = []
    for name, group in site.of_type("AWS::EC2::SecurityGroup").items():
        if not group.get("SecurityGroupEgress"):
            yield f"{name} lets everything out"
        both = (*group.get("SecurityGroupEgress", []), *group.get("SecurityGroupIngress", []))
        rules.extend((name, rule) for rule in both)
    for kind in ("SecurityGroupIngress", "SecurityGroupEgress"):
        rules.extend(site.of_type(f"AWS::EC2::{kind}").items())
    for name, rule in rules:
        if rule.get("CidrIp", "127.0.0.1/32") != "127.0.0.1/32" or rule.get("CidrIpv6"):
            yield f"{name} is open to {rule.get('CidrIp') or rule.get('CidrIpv6')}"


def reaching_out(site: Site) -> Iterator[str]:
    """A primary only looks into other Regions: it can neither make nor change nor delete anything there."""
    for name, statement in _role_statements(site):
        for action in _actions(statement):
            if action.startswith("ec2:") and not action.startswith("ec2:Describe") and action not in UNSCOPED:
                yield from _outside(site, name, action, statement)


def open_keys(site: Site) -> Iterator[str]:
    """A key is used through the service it is meant for, or by a grant that only AWS itself can use."""
    for name, statement in _role_statements(site):
        actions = {action for action in _actions(statement) if action.startswith("kms:")} - {"kms:DescribeKey"}
        if name == "RecoverRole" and [target(each) for each in as_list(statement["Resource"])] == ["EvidenceKey"]:
            actions -= {"kms:GetPublicKey", "kms:Sign"}  # what that key is for
        conditions = statement.get("Condition", {})
        for action in sorted(actions):
            if action == "kms:CreateGrant":
                if conditions.get("Bool") != {"kms:GrantIsForAWSResource": "true"}:
                    yield f"{name} may grant a key to anybody"
            elif "kms:ViaService" not in {key for each in conditions.values() for key in each}:
                yield f"{name} may {action} directly"


def foreign_logs(site: Site) -> Iterator[str]:
    """A function writes to its own log group and to no other."""
    for function, properties in site.of_type(FUNCTION).items():
        own = target(properties["LoggingConfig"]["LogGroup"])
        for statement in site.statements(site.role_of(function)):
            if any(action.startswith("logs:") for action in _actions(statement)) and [own] != [
                target(resource) for resource in as_list(statement["Resource"])
            ]:
                yield f"{function} may write to {statement['Resource']}"


def strangers(site: Site) -> Iterator[str]:
    """A role is assumed by one service, and by a service that acts for others only on this account's behalf."""
    for name, role in site.of_type(ROLE).items():
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            principal = statement["Principal"].get("Service")
            bound = statement.get("Condition", {}).get("StringEquals", {}).get("aws:SourceAccount")
            if name == "DrillInstanceRole" and principal == "ec2.amazonaws.com":
                continue  # who launches an instance with it needs iam:PassRole
            if principal not in {f"{each}.amazonaws.com" for each in ("lambda", "scheduler", "events", "states")}:
                yield f"{name} may be assumed by {statement['Principal']}"
            elif principal != "lambda.amazonaws.com" and not bound:
                yield f"{name} may be assumed by {principal} for any account"


def plain_queues(site: Site) -> Iterator[str]:
    """Every queue is encrypted, has exactly one policy, and that one refuses anything but TLS."""
    policies = site.of_type("AWS::SQS::QueuePolicy").values()
    for name, queue in site.of_type(QUEUE).items():
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{name} is not encrypted"
        own = [policy for policy in policies if name in map(target, policy["Queues"])]
        if len(own) != 1:
            yield f"{name} has {len(own)} policies"
        yield from (f"{name} can be used without TLS" for policy in own if not _is_tls_only(policy, "sqs:*"))


def open_queues(site: Site) -> Iterator[str]:
    """From outside the account's own roles only EventBridge sends, and only for rules of this site."""
    rules = site.of_type("AWS::Events::Rule")
    for name, policy in site.of_type("AWS::SQS::QueuePolicy").items():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny":
                continue
            sources = as_list(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:SourceArn", []))
            if (
                statement["Principal"] != {"Service": "events.amazonaws.com"}
                or statement["Action"] != "sqs:SendMessage"
            ):
                yield f"{name} lets {statement['Principal']} {statement['Action']}"
            if not sources or not all(target(source) in rules for source in sources):
                yield f"{name} takes messages from {sources or 'anything'}"


def open_buckets(site: Site) -> Iterator[str]:
    """Buckets are private, versioned, encrypted with the site's key, without ACLs, and for TLS only."""
    policies = {target(each["Bucket"]): each for each in site.of_type("AWS::S3::BucketPolicy").values()}
    for name, bucket in site.of_type("AWS::S3::Bucket").items():
        block = bucket.get("PublicAccessBlockConfiguration", {})
        switches = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
        if not all(block.get(switch) is True for switch in switches):
            yield f"{name} may be made public"
        if bucket.get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{name} is not versioned"
        if bucket.get("OwnershipControls", {}).get("Rules") != [{"ObjectOwnership": "BucketOwnerEnforced"}]:
            yield f"{name} has ACLs"
        rules = bucket.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        if [rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules] != ["aws:kms"]:
            yield f"{name} is not encrypted with a key of its own"
        if name not in policies or not _is_tls_only(policies[name], "s3:*"):
            yield f"{name} can be used without TLS"


def mute_topics(site: Site) -> Iterator[str]:
    """The topic is under a customer key that CloudWatch and EventBridge may use; alarms of this account reach it."""
    keys = site.of_type("AWS::KMS::Key")
    for name, topic in site.of_type("AWS::SNS::Topic").items():
        key = target(topic.get("KmsMasterKeyId", "none"))
        if key not in keys and not key.startswith("arn:"):
            yield f"{name} is not under a customer key"
        if key in keys:
            statements = keys[key]["KeyPolicy"]["Statement"]
            for service in ("cloudwatch.amazonaws.com", "events.amazonaws.com"):
                admitted = [each["Action"] for each in statements if each["Principal"] == {"Service": service}]
                if [sorted(actions) for actions in admitted] != [["kms:Decrypt", "kms:GenerateDataKey"]]:
                    yield f"{key} does not let {service} publish to {name}"


def unrotated_keys(site: Site) -> Iterator[str]:
    """Keys rotate, and only this account's root is trusted with more than publishing."""
    for name, key in site.of_type("AWS::KMS::Key").items():
        # https://docs.aws.amazon.com/kms/latest/developerguide/rotate-keys.html: asymmetric keys cannot rotate.
        if key.get("EnableKeyRotation") is not True and key.get("KeyUsage") != "SIGN_VERIFY":
            yield f"{name} does not rotate"
        for statement in key["KeyPolicy"]["Statement"]:
            owner = {"AWS": "arn:aws:iam::123456789012:root"}
            if statement["Principal"] != owner and "Service" not in statement["Principal"]:
                yield f"{name} trusts {statement['Principal']}"


def losable(site: Site) -> Iterator[str]:
    """Keys, buckets with their policies, and tables outlive the stack and any replacement."""
    lasting = {"AWS::KMS::Key", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::DynamoDB::Table"}
    for name, resource in site.resources.items():
        policies = (resource.get("DeletionPolicy", "Delete"), resource.get("UpdateReplacePolicy", "Delete"))
        if resource["Type"] in lasting and policies != ("RetainExceptOnCreate", "Retain"):
            yield f"{name} goes with the stack: {policies}"
        if resource["Type"] not in lasting and policies != ("Delete", "Delete"):
            yield f"{name} stays behind: {policies}"


def frail_tables(site: Site) -> Iterator[str]:
    """Tables are encrypted, can be set back in time, and forget what has expired."""
    for name, table in site.of_type("AWS::DynamoDB::Table").items():
        if table.get("SSESpecification") != {"SSEEnabled": True}:
            yield f"{name} is not encrypted with a key of the account"
        if table.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            yield f"{name} cannot be set back in time"
        if table.get("TimeToLiveSpecification") != {"AttributeName": "expires_at", "Enabled": True}:
            yield f"{name} forgets nothing"


def impatient_queues(site: Site) -> Iterator[str]:
    """A message stays hidden for six times its function's timeout, is tried five times, then given up.

    In a queue of one message group, one that failed holds up all others for as long: there it is half as long again.
    """
    queues = site.of_type(QUEUE)
    functions = site.of_type(FUNCTION)
    for name, mapping in site.of_type("AWS::Lambda::EventSourceMapping").items():
        queue = queues[target(mapping["EventSourceArn"])]
        timeout = functions[target(mapping["FunctionName"])]["Timeout"]
        if queue.get("VisibilityTimeout", 30) < (1.5 if queue.get("FifoQueue") else 6) * timeout:
            yield f"{name}: hidden for {queue.get('VisibilityTimeout', 30)} s, the function may take {timeout} s"
        redrive = queue.get("RedrivePolicy", {})
        given_up = queues.get(target(redrive.get("deadLetterTargetArn")))
        if redrive.get("maxReceiveCount") != 5 or given_up is None:
            yield f"{name}: its queue never gives up a message"
        elif given_up.get("FifoQueue") != queue.get("FifoQueue"):
            yield f"{name}: its queue and what takes its dead letters are not of one kind"
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: one bad message fails its batch"


def unwatched_functions(site: Site) -> Iterator[str]:
    """Every function has a log that ends, one failure path, and an alarm on its errors."""
    groups = site.of_type("AWS::Logs::LogGroup")
    mappings = {target(each["FunctionName"]) for each in site.of_type("AWS::Lambda::EventSourceMapping").values()}
    configs = {target(each["FunctionName"]): each for each in site.of_type("AWS::Lambda::EventInvokeConfig").values()}
    alarms = list(site.of_type("AWS::CloudWatch::Alarm").values())
    for name, properties in site.of_type(FUNCTION).items():
        group = groups.get(target(properties.get("LoggingConfig", {}).get("LogGroup", "none")), {})
        if (
            not int(group.get("RetentionInDays", 0))
            or group["LogGroupName"] != f"/aws/lambda/{properties['FunctionName']}"
        ):
            yield f"{name} has no log group with an end"
        destination = configs.get(name, {}).get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if (name in mappings) == (destination is not None):
            yield f"{name} has {'two failure paths' if destination else 'no failure path'}"
        if destination and not any(
            "sqs:SendMessage" in _actions(each) and target(destination) in map(target, as_list(each["Resource"]))
            for each in site.statements(site.role_of(name))
        ):
            yield f"{name} may not send to its on-failure destination"
        if not any(
            (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Errors")
            and {"Name": "FunctionName", "Value": {"Ref": name}} in alarm["Dimensions"]
            for alarm in alarms
        ):
            yield f"{name} may fail unheard"


def lost_deliveries(site: Site) -> Iterator[str]:
    """What a schedule or a rule cannot deliver is retried for a while and then kept."""
    for name, delivery in _deliveries(site):
        if "DeadLetterConfig" not in delivery:
            yield f"{name} loses what it cannot deliver"
    for name, schedule in site.of_type("AWS::Scheduler::Schedule").items():
        if "RetryPolicy" not in schedule["Target"]:
            yield f"{name} retries for a day what the next run makes up"


def unwatched_failure_paths(site: Site) -> Iterator[str]:
    """Every queue that collects lost work has an alarm on its depth and one on its age."""
    collecting = {
        target(each["DeadLetterConfig"]["Arn"]) for _, each in _deliveries(site) if "DeadLetterConfig" in each
    }
    for queue in site.of_type(QUEUE).values():
        if "RedrivePolicy" in queue:
            collecting.add(target(queue["RedrivePolicy"]["deadLetterTargetArn"]))
    for config in site.of_type("AWS::Lambda::EventInvokeConfig").values():
        collecting.add(target(config["DestinationConfig"]["OnFailure"]["Destination"]))
    for name in sorted(collecting):
        metrics = {
            alarm["MetricName"]
            for alarm in site.of_type("AWS::CloudWatch::Alarm").values()
            if {"Name": "QueueName", "Value": {"Fn::GetAtt": [name, "QueueName"]}} in alarm["Dimensions"]
        }
        if metrics != {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"}:
            yield f"{name} fills up unheard: alarms on {sorted(metrics) or 'nothing'}"


def silent_alarms(site: Site) -> Iterator[str]:
    """An alarm tells the topic, both when it starts and when it is over."""
    for name, alarm in site.of_type("AWS::CloudWatch::Alarm").items():
        for key in ("AlarmActions", "OKActions"):
            if alarm.get(key) != [{"Ref": "Alerts"}]:
                yield f"{name} tells nobody ({key})"


_SUCCESSES = {
    "RecoverySweepTimer": "SucceededSweeps",
    "DrillTimer": "SucceededDrillStarts",
    "ReadinessTimer": "SucceededReadinessChecks",
}
"""What a schedule's runs say when they come to their end, where a function is run by more than one."""


def unheard_runs(site: Site) -> Iterator[str]:
    """Of each function that a schedule runs, also by way of a queue, three intervals of silence are an alarm."""
    mappings = site.of_type("AWS::Lambda::EventSourceMapping").values()
    by_queue = {target(each["EventSourceArn"]): target(each["FunctionName"]) for each in mappings}
    functions = site.of_type(FUNCTION)
    for name, schedule in site.of_type("AWS::Scheduler::Schedule").items():
        destination = target(schedule["Target"]["Arn"])
        function = by_queue.get(destination, destination)
        service = functions[function]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        metric = _SUCCESSES.get(name, "SucceededRuns")
        alarms = [alarm for _, alarm in _alarms_on(site, metric, service)]
        if len(alarms) != 1:
            yield f"{function} may fall silent: {len(alarms)} alarms"
            continue
        (alarm,) = alarms
        rule = (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"], alarm["TreatMissingData"])
        if rule != ("Sum", "LessThanThreshold", 1, "breaching") or "DatapointsToAlarm" in alarm:
            yield f"{function} falls silent unheard: {rule}"
        silence = int(alarm["Period"]) * int(alarm["EvaluationPeriods"])
        if silence != 3 * _interval(schedule["ScheduleExpression"]):
            yield f"{function} runs by {schedule['ScheduleExpression']}, and its alarm waits for {silence} s ({name})"


def impossible_alarms(site: Site) -> Iterator[str]:
    """CloudWatch takes an alarm's periods.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    for name, alarm in site.of_type("AWS::CloudWatch::Alarm").items():
        period, periods = int(alarm["Period"]), int(alarm["EvaluationPeriods"])
        if period % 60 or period < 60 or periods < 1:
            yield f"{name} has {periods} periods of {period} s"
        if period * periods > (DAY if period < 3600 else 7 * DAY):
            yield f"{name} looks back {period * periods} s by periods of {period} s"


def fleeting_alarms(site: Site) -> Iterator[str]:
    """What each scheduled run says holds until the next one says otherwise; what a job says is said once."""
    scheduled = {"schedule_backups", "copy_recovery_points", "prune_recovery_points", "report_objectives"}
    functions = site.of_type(FUNCTION)
    for name, alarm in site.of_type("AWS::CloudWatch::Alarm").items():
        dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        service = dimensions.get("service")
        if "FunctionName" in dimensions:
            function = functions[target(dimensions["FunctionName"])]
            service = function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        wanted = "ignore" if service in scheduled else "notBreaching"
        if not alarm["MetricName"].startswith("Succeeded") and alarm["TreatMissingData"] != wanted:
            yield f"{name} treats a missing value as {alarm['TreatMissingData']}, not {wanted}"


def unmeasured_objectives(site: Site) -> Iterator[str]:
    """At a recovery site, what is older than its RPO, what has no copy, and what nobody knows are alarms."""
    if site.name != "recovery":
        return
    for metric in ("BreachedObjectives", "UncoveredResources", "InventoryProblems"):
        for name, alarm in _alarms_on(site, metric, "report_objectives"):
            if (alarm["ComparisonOperator"], alarm["Threshold"]) != ("GreaterThanOrEqualToThreshold", 1):
                yield f"{name} lets some pass"
            break
        else:
            yield f"{metric} may be anything, and nobody hears of it"


def nameless_queues(site: Site) -> Iterator[str]:
    """Every queue has the name by which the command looks for it."""
    prefix = f"hikae-{INSTALLATION}-{site.name}-"
    for name, queue in site.of_type(QUEUE).items():
        if not str(queue.get("QueueName", "")).startswith(prefix):
            yield f"{name} cannot be found by its name"


ALL = (
    shared_roles,
    wildcard_actions,
    managed_policies,
    passed_roles,
    open_resources,
    loose_deletions,
    loose_tagging,
    untagged_creations,
    untagged_runs,
    open_drills,
    loose_groups,
    open_keys,
    foreign_logs,
    strangers,
    plain_queues,
    open_queues,
    open_buckets,
    mute_topics,
    unrotated_keys,
    losable,
    frail_tables,
    impatient_queues,
    unwatched_functions,
    lost_deliveries,
    unwatched_failure_paths,
    silent_alarms,
    unheard_runs,
    impossible_alarms,
    fleeting_alarms,
    unmeasured_objectives,
    nameless_queues,
)


def _deliveries(site: Site) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schedule in site.of_type("AWS::Scheduler::Schedule").items():
        yield name, schedule["Target"]
    for name, rule in site.of_type("AWS::Events::Rule").items():
        yield from ((name, each) for each in rule["Targets"])


def _alarms_on(site: Site, metric: str, service: str) -> list[tuple[str, dict[str, Any]]]:
    dimensions = [
        {"Name": "service", "Value": service},
        {"Name": "installation", "Value": INSTALLATION},
        {"Name": "site", "Value": site.name},
    ]
    alarms = site.of_type("AWS::CloudWatch::Alarm")
    return [
        (name, alarm)
        for name, alarm in alarms.items()
        if (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"]) == ("hikae", metric, dimensions)
    ]


def _interval(expression: str) -> int:
    """A schedule's interval in seconds; cron counts as a day, which is what the alarms take it for."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    return int(match[1]) * {"minute": 60, "hour": 3600, "day": DAY}[match[2]] if match else DAY


def _outside(site: Site, name: str, action: str, statement: dict[str, Any]) -> Iterator[str]:
    for resource in _resources(statement):
        if _region(resource) != site.region:
            yield f"{name} may {action} on {resource}, which is not of this Region"


def _region(arn: str) -> str:
    return arn.split(":")[3] if arn.startswith("arn:") else arn


def _actions(statement: dict[str, Any]) -> set[str]:
    return set(as_list(statement.get("Action", [])))


def _resources(statement: dict[str, Any]) -> list[str]:
    return [target(resource) for resource in as_list(statement["Resource"])]


def _role_statements(site: Site) -> Iterator[tuple[str, dict[str, Any]]]:
    for role in site.of_type(ROLE):
        for statement in site.statements(role):
            yield role, statement


def _policy_statements(site: Site) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from _role_statements(site)
    for name, resource in site.resources.items():
        properties = resource.get("Properties", {})
        for key in ("PolicyDocument", "KeyPolicy", "AssumeRolePolicyDocument"):
            for statement in properties.get(key, {}).get("Statement", []):
                yield name, statement


def _is_tls_only(policy: dict[str, Any], action: str) -> bool:
    return any(
        statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement["Action"] == action
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in policy["PolicyDocument"]["Statement"]
    )
