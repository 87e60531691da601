"""Run by .ci/run where the wheel has its extra `server`: what the image does, without docker."""

import json
import re
import signal
import subprocess
import sys
from urllib.request import Request, urlopen

BODY = {
    "query": "When was the tower finished?",
    "documents": ["It was finished in 1889. My cat sleeps all day."],
}

command = [sys.argv[1], "serve", "--port", "0"]
server = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
try:
    assert server.stderr is not None
    address = next(found[1] for line in server.stderr if (found := re.search(r"running on (http\S+)", line)))
    assert urlopen(f"{address}/ready").status == 200
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"{address}/v1/prune", json.dumps(BODY).encode(), headers)) as response:
        (passage,) = json.load(response)["results"]
    assert passage["text"] == "It was finished in 1889.", passage
finally:
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
print("provence serve: ok")
