"""What several processes say, and how many networks they may take together."""

from __future__ import annotations

import subprocess
import sys

from dsd.launch.relay import REMEMBERED, Relay
from dsd.tickets import Tickets

TAKER = """
import sys
from dsd.tickets import Tickets
tickets, taken = Tickets(int(sys.argv[1])), 0
while tickets.take():
    taken += 1
print(taken)
"""


def test_whole_lines_once_and_no_errors() -> None:
    lines: list[str] = []
    relay = Relay(lines.append, frozenset(["hush"]))
    code = "import sys; sys.stdout.write('one\\nhalf'); sys.stdout.flush(); print(' two'); print()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    relay.listen("a", process.stdout).join(30)
    process.wait()
    for who, line in (("b", "one"), ("a", "one"), ("b", "hush"), ("b", "Error: no images")):
        relay.hear(who, line)
    assert lines == ["one", "half two", "one"], "the same process may say it again"
    assert relay.errors == {"b": "no images"}
    for number in range(REMEMBERED + 1):
        relay.hear("a", str(number))
    relay.hear("b", "one")
    assert lines[-1] == "one", "it was said long ago"


def test_tickets_are_taken_once_by_whichever_process() -> None:
    tickets = Tickets.of(2000)
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, str(tickets.file)], text=True,
                         stdout=subprocess.PIPE, pass_fds=[tickets.file])
        for _ in range(3)
    ]  # fmt: skip
    taken = [int(one.communicate(timeout=60)[0]) for one in takers]
    assert sum(taken) == 2000
    assert not tickets.take()
    tickets.give_back()
    assert tickets.left() == 1
    tickets.put(-3)
    assert tickets.left() == 0
