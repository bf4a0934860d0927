"""boto3 clients with explicit timeouts and retries.

Reading calls may be repeated by botocore. Creating calls may not: EC2 has no client token for most of them, so a retry
that nobody sees makes a second, billed snapshot.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from hikae.aws.errors import reading
from hikae.aws.pacing import Pacer

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_rbin import RecycleBinClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

READING = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=30)
GLANCING = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=2, read_timeout=5)
"""For what is good to know, and must not keep anything waiting."""
CREATING = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=20)


class Clients:
    """The clients of one session, made when first asked for and kept.

    `role_arn` is assumed for every call where it is given: that is how another account is read. Its credentials are
    not renewed; making a client raises Unreachable where the role cannot be assumed. EC2 is called no faster than
    `pacer` lets it, in the session's own Region.
    """

    def __init__(self, *, region: str, role_arn: str | None = None, pacer: Pacer | None = None) -> None:
        self.region = region
        self.pacer = pacer or Pacer()
        self._role_arn = role_arn
        self._made: dict[tuple[str, str, int], Any] = {}
        self._session: boto3.Session | None = None

    def reading_ec2(self, region: str | None = None) -> "EC2Client":
        """EC2 for describes and deletions, which may be repeated."""
        client: EC2Client = self._client("ec2", region or self.region)
        return client

    def creating_ec2(self) -> "EC2Client":
        """EC2 for creating calls, each of which is sent once."""
        client: EC2Client = self._client("ec2", self.region, config=CREATING)
        return client

    def s3(self, region: str | None = None) -> "S3Client":
        """S3 in the Region of the bucket."""
        client: S3Client = self._client("s3", region or self.region)
        return client

    def sqs(self) -> "SQSClient":
        """SQS in the site's own Region."""
        client: SQSClient = self._client("sqs", self.region)
        return client

    def dynamodb(self) -> "DynamoDBClient":
        """DynamoDB in the site's own Region."""
        client: DynamoDBClient = self._client("dynamodb", self.region)
        return client

    def autoscaling(self) -> "AutoScalingClient":
        """Auto Scaling in the site's own Region."""
        client: AutoScalingClient = self._client("autoscaling", self.region)
        return client

    def rbin(self) -> "RecycleBinClient":
        """The Recycle Bin in the site's own Region."""
        client: RecycleBinClient = self._client("rbin", self.region)
        return client

    def kms(self) -> "KMSClient":
        """KMS in the site's own Region."""
        client: KMSClient = self._client("kms", self.region)
        return client

    def ssm(self) -> "SSMClient":
        """Systems Manager in the site's own Region."""
        client: SSMClient = self._client("ssm", self.region)
        return client

    def sending_ssm(self) -> "SSMClient":
        """Systems Manager for SendCommand, which has no client token: it is sent once, and looked for before again."""
        client: SSMClient = self._client("ssm", self.region, config=CREATING)
        return client

    def awslambda(self) -> "LambdaClient":
        """Lambda in the site's own Region."""
        client: LambdaClient = self._client("lambda", self.region)
        return client

    def stepfunctions(self) -> "SFNClient":
        """Step Functions in the site's own Region."""
        client: SFNClient = self._client("stepfunctions", self.region)
        return client

    def elbv2(self) -> "ElasticLoadBalancingv2Client":
        """Elastic Load Balancing in the site's own Region."""
        client: ElasticLoadBalancingv2Client = self._client("elbv2", self.region)
        return client

    def glancing_elbv2(self) -> "ElasticLoadBalancingv2Client":
        """Elastic Load Balancing in the site's own Region, for describes that may as well fail."""
        client: ElasticLoadBalancingv2Client = self._client("elbv2", self.region, config=GLANCING)
        return client

    def iam(self) -> "IAMClient":
        """IAM, which is everywhere the same and answers from one Region."""
        client: IAMClient = self._client("iam", self.region)
        return client

    def service_quotas(self) -> "ServiceQuotasClient":
        """Service Quotas in the site's own Region."""
        client: ServiceQuotasClient = self._client("service-quotas", self.region)
        return client

    def _client(self, service: str, region: str, *, config: Config = READING) -> Any:
        key = (service, region, id(config))
        if key not in self._made:
            client = self._get_session().client(service, region_name=region, config=config)  # type: ignore[call-overload]
            if service == "ec2" and region == self.region:
                self.pacer.watch(client)
            self._made[key] = client
        return self._made[key]

    def _get_session(self) -> boto3.Session:
        if self._role_arn is None:
            return _own_session()
        if self._session is None:
            self._session = _assume(self._role_arn, self.region)
        return self._session


@lru_cache(maxsize=1)
def _own_session() -> boto3.Session:
    """The function's own session, one per process: it has parsed each service's model only once."""
    return boto3.Session()


def _assume(role_arn: str, region: str) -> boto3.Session:
    with reading(role_arn):
        credentials = boto3.client("sts", region_name=region, config=READING).assume_role(
            RoleArn=role_arn, RoleSessionName="hikae"
        )["Credentials"]
    return boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
