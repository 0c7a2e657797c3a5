"""Asks the dashboard in the same pod for a training, as its page does: python ask_training.py EPOCHS BATCH

Runs in the ui pod with nothing but the standard library; `make job-train` sends it there. What is empty is
as the settings say.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request


def main() -> int:
    given = dict(zip(("epochs", "batch"), sys.argv[1:], strict=True))
    form = urllib.parse.urlencode({name: value for name, value in given.items() if value}).encode()
    port = os.environ.get("UI_PORT", "8080")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/trigger-train", form, timeout=60) as answer:
            sys.stdout.write(answer.read().decode() + "\n")
    except urllib.error.HTTPError as refused:
        told = json.loads(refused.read() or b"{}")
        sys.stderr.write(f"{told.get('error') or refused}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
