"""`hikae`: the command's entry point."""

import click

from hikae_cli.drill_commands import drill_group
from hikae_cli.job_commands import jobs_group
from hikae_cli.plan_commands import plan_group
from hikae_cli.points_commands import points
from hikae_cli.preview_commands import preview
from hikae_cli.prune_commands import prune
from hikae_cli.ready_commands import ready
from hikae_cli.restore_commands import restore
from hikae_cli.retention_commands import retention_group


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hikae", prog_name="hikae", message="%(prog)s %(version)s")
def main() -> None:
    """Backup and disaster recovery for Amazon EC2.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """


main.add_command(plan_group)
plan_group.add_command(preview)
main.add_command(prune)
main.add_command(retention_group)
main.add_command(jobs_group)
main.add_command(points)
main.add_command(restore)
main.add_command(drill_group)
main.add_command(ready)

if __name__ == "__main__":
    main()
