"""The EC2 twin: a test double of EC2 on moto."""
