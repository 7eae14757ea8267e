"""Inherited, too many, or misused descriptors."""

from corpus.case import MALFORMED, Case, off
from datacomp_worker.sandbox.layers import Layer

NOFILE = (off(Layer.NOFILE),)
ENDED = ("filter-ended",)

CASES = (
    Case(
        "inherited",
        """
def others():
    for n in os.listdir("/proc/self/fd"):
        try: target = os.readlink(f"/proc/self/fd/{n}")
        except OSError: continue
        known = ("/pool/", "/submission/", "/proc/", "/usr/", sys.prefix, sys.base_prefix)
        if int(n) not in (0, 1, 2, RESULT) and not target.startswith(known): yield n, target
tries(lambda: list(others()))""",
        quick=True,
    ),
    Case("duplicates", "tries(many, lambda: os.dup(0))", proves=NOFILE),
    Case("opens", 'tries(many, lambda: os.open("/dev/null", os.O_RDONLY))', proves=NOFILE),
    Case("events", "tries(many, lambda: os.eventfd(0))", proves=NOFILE),
    Case("polls", "tries(many, lambda: libc.epoll_create1(0))", proves=NOFILE),
    Case("watches", "tries(many, lambda: libc.inotify_init())"),
    Case(
        "in-flight",
        """
one, other = socket.socketpair()
one.setblocking(False)
def send():
    for _ in range(3000): socket.send_fds(one, [b"x"], [0])
tries(send)""",
    ),
    Case("raise-the-limit", "tries(resource.setrlimit, resource.RLIMIT_NOFILE, (9999, 9999))"),
    Case("larger-pipe", "tries(fcntl.fcntl, RESULT, 1031, 1 << 30)"),
    Case("closes-the-result", "os.close(RESULT)", ENDED),
    Case("closes-all", "os.closerange(0, 256)", ENDED),
    Case("prints-into-the-result", 'os.dup2(RESULT, 1)\nprint("spam" * 99)\ntime.sleep(5)', MALFORMED),
    Case("result-without-blocking", "os.set_blocking(RESULT, False)", harmless=True),
    Case("reads-the-result", "tries(os.read, RESULT, 1)"),
    Case(
        "reads-its-log-pipe",
        'os.read(os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK), 9999)',
        ("scores", "filter-raised"),
        harmless=True,
    ),
    Case("standard-input", "tries(os.read, 0, 10)"),
    Case("terminal", 'tries(open, "/dev/tty")'),
    Case("types-into-the-terminal", 'tries(call, "ioctl", 0, 0x5412, address(b"x"))'),
    Case("takes-from-a-process", 'tries(call, "pidfd_getfd", 0, 0, 0)'),
    Case("signals-by-descriptor", "tries(fcntl.fcntl, RESULT, fcntl.F_SETOWN, FACTS['decoy'])"),
)
