"""A host of its own for a process: a network namespace with two cables to this machine, one for its users and
one to the store. A cable that is cut is silent: nobody is refused, nothing arrives. Wants root and iproute2.
"""

import os
import random
import shutil
import subprocess
from functools import cache
from ipaddress import ip_network

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
RANGE = ip_network("198.18.0.0/15")
"""For tests of networks between themselves (RFC 2544): no route of this machine leads there."""
_BLOCKS = tuple(RANGE.subnets(new_prefix=29))


def _ip(*words: str) -> None:
    """Raises CalledProcessError with what `ip` said."""
    assert IP is not None
    subprocess.run([IP, *words], check=True, capture_output=True, text=True)


class Host:
    """Its name is claimed among all tests of this machine, and with it a block of addresses."""

    def __init__(self) -> None:
        while True:
            number = random.randrange(len(_BLOCKS))
            self._name = f"serinus-{number}"
            if self._name not in _there():
                _ip("netns", "add", self._name)  # fails when somebody else was faster
                break
        self._cables = [f"ser{number}u", f"ser{number}s"]
        _, outside, self.address, _, _, self.store, inside, _ = map(str, _BLOCKS[number])
        try:
            _ip("-n", self._name, "link", "set", "lo", "up")
            self._lay(self._cables[0], "users", outside, self.address)
            self._lay(self._cables[1], "store", self.store, inside)
        except BaseException:
            self.close()
            raise

    def _lay(self, cable: str, end: str, here: str, there: str) -> None:
        _ip("link", "add", cable, "type", "veth", "peer", "name", end, "netns", self._name)
        _ip("address", "add", f"{here}/30", "dev", cable)
        _ip("-n", self._name, "address", "add", f"{there}/30", "dev", end)
        _ip("link", "set", cable, "up")
        _ip("-n", self._name, "link", "set", end, "up")

    @property
    def command(self) -> tuple[str, ...]:
        """What stands before a command that is to run there, as the same process."""
        assert IP is not None
        return (IP, "netns", "exec", self._name)

    def cut(self) -> None:
        """The cable to the store."""
        _ip("link", "set", self._cables[1], "down")

    def heal(self) -> None:
        _ip("link", "set", self._cables[1], "up")

    def close(self) -> None:
        """With the last process in it both cables go."""
        _ip("netns", "delete", self._name)


def _there() -> set[str]:
    assert IP is not None
    told = subprocess.run([IP, "netns", "list"], check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in told.splitlines() if line}


@cache
def permitted() -> bool:
    """Whether such hosts can be made here."""
    if IP is None or os.geteuid() != 0:
        return False
    try:
        Host().close()
    except subprocess.CalledProcessError:
        return False
    return True
