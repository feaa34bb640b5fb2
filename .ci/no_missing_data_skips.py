"""Exit with 1 if a test in a JUnit report skipped for want of the shared reference data."""

import sys
from xml.etree import ElementTree

REASON = "needs the shared reference data"

skipped = [
    f"{case.get('classname')}::{case.get('name')}"
    for report in sys.argv[1:]
    for case in ElementTree.parse(report).iter("testcase")  # noqa: S314 (pytest's own file)
    if any(REASON in (skip.get("message") or "") for skip in case.iter("skipped"))
]
for name in skipped:
    print(f"skipped although ../shared exists: {name}", file=sys.stderr)
sys.exit(1 if skipped else 0)
