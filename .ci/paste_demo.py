"""Run the demo and put what it prints at the end of README.md."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"

printed = subprocess.run(
    [sys.executable, "-m", "scheduler", "demo"], capture_output=True, text=True, check=True
).stdout
lines = "\n".join(line.rstrip() for line in printed.splitlines())
text, found = re.subn(
    r"(?<=<!-- demo output -->\n```\n).*?(?=^```$)",
    lambda _: f"{lines}\n",
    README.read_text(encoding="utf-8"),
    flags=re.S | re.M,
)
if not found:
    sys.exit("README.md has no block marked <!-- demo output -->")
README.write_text(text, encoding="utf-8")
