"""The ``doctor`` command: what works on this machine and what to mend, in plain words."""

import argparse
import json
from collections.abc import Callable, Sequence

from mtlkit.course.machine import CHECKS, OK, PROBLEM, REINSTALL, WARNING, Finding

MARKS = {OK: "✓ ok", WARNING: "! warning", PROBLEM: "✗ problem"}


def examine(checks: Sequence[Callable[[], Finding]] = CHECKS) -> list[Finding]:
    """Run the checks; one that itself breaks becomes a problem line, never a traceback."""
    findings = []
    for check in checks:
        try:
            findings.append(check())
        except Exception as error:
            name = check.__name__.removeprefix("check_").capitalize()
            text = f"could not be checked: {type(error).__name__}: {error}"
            findings.append(Finding(name, PROBLEM, text, REINSTALL))
    return findings


def describe(findings: Sequence[Finding], details: bool = True) -> str:
    """The findings as the text that a learner reads.

    Without ``details`` a line that is well has its name only: what was found differs from machine
    to machine, and a notebook's stored outputs should not.
    """
    width = max(len(entry.name) for entry in findings)
    lines = []
    for entry in findings:
        if entry.state == OK and not details:
            lines.append(f"{MARKS[OK]:<10} {entry.name}")
            continue
        lines.append(f"{MARKS[entry.state]:<10} {entry.name:<{width}}  {entry.found}")
        if entry.mend:
            lines.append(f"{'':<10} {'':<{width}}  -> {entry.mend}")
    states = [entry.state for entry in findings]
    problems, warnings = states.count(PROBLEM), states.count(WARNING)
    if problems:
        count = "1 problem" if problems == 1 else f"{problems} problems"
        lines.append(f"\n{count} to mend before you start.")
    elif warnings:
        lines.append("\nYou can start; the warnings above say what may go slowly or wrong.")
    else:
        lines.append("\nAll is well: you can start.")
    return "\n".join(lines)


def doctor(details: bool = True) -> list[Finding]:
    """Examine this machine, print the report and return its findings.

    Without ``details`` only warnings and problems say what was found.
    """
    findings = examine()
    print(describe(findings, details))
    return findings


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mtlkit doctor``; exit code 1 when a problem would stop the course."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit doctor", description="Look at this machine: what works, and what to mend."
    )
    arguments.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = arguments.parse_args(argv)
    findings = examine() if options.json else doctor()
    if options.json:
        print(json.dumps([vars(entry) for entry in findings], indent=1))
    return int(any(entry.state == PROBLEM for entry in findings))
