"""`python -m hrmodel`: the offline commands."""

import sys

from hrmodel.offline.arguments import parse


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code, 2 for a user error."""
    args = parse(argv)
    from hrmodel.offline.commands import run  # torch takes seconds: not for --help or a wrong argument

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
