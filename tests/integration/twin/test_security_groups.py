"""Security groups: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html"""

import pytest
from botocore.exceptions import ClientError

REGION = "us-east-1"


@pytest.fixture
def network(cloud):
    ec2 = cloud.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    first, second = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("a", "b")
    )
    return ec2, subnet, first, second


def refusal(ec2, group):
    with pytest.raises(ClientError) as caught:
        ec2.delete_security_group(GroupId=group)
    return caught.value.response["Error"]["Code"]


def test_a_group_of_a_network_interface_stays_until_that_is_gone(network):
    ec2, subnet, group, _ = network
    interface = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    assert refusal(ec2, group) == "DependencyViolation"
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.delete_security_group(GroupId=group)


def test_a_group_that_another_names_stays_and_one_that_names_itself_goes(network):
    ec2, _, group, other = network

    def let_in(into, source):
        pairs = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": source}]}]
        ec2.authorize_security_group_ingress(GroupId=into, IpPermissions=pairs)

    let_in(group, group)
    let_in(other, group)
    assert refusal(ec2, group) == "DependencyViolation"
    ec2.delete_security_group(GroupId=other)
    ec2.delete_security_group(GroupId=group)
