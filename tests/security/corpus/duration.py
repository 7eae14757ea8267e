"""Never ending, and changing what time it is."""

from corpus.case import TIMEOUT, Case, off
from datacomp_worker.sandbox.layers import Layer

WALL = (off(Layer.WALL_CLOCK),)


def endless(name: str, body: str, **more) -> Case:
    return Case(name, body, TIMEOUT, seconds=4, **more)


CASES = (
    endless("sleeps", "time.sleep(60)", proves=WALL),
    endless("spins", "while True: pass", proves=(off(Layer.WALL_CLOCK, Layer.CPU),)),
    endless("at-the-head", "while True: pass", head=True),
    endless("blocks-signals", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(1)"),
    endless(
        "handles-signals",
        "for n in {*range(1, 65)} - {9, 19, 32, 33}: signal.signal(n, lambda *a: None)\nwhile True: pass",
    ),
    endless("closes-its-pipes", "for fd in (0, 1, 2, RESULT): os.close(fd)\ntime.sleep(60)"),
    endless("waits-for-a-child", 'subprocess.run(["/usr/bin/sleep", "60"])'),
    endless("stops-itself", "os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(60)"),
    endless("in-a-regular-expression", 'import re\nre.match("(a+)+$", "a" * 50 + "b")'),
    endless("in-one-operation", "3 ** (10 ** 9)"),
    endless("deadlock", "lock = threading.Lock()\nlock.acquire()\nlock.acquire()"),
    endless("at-exit", "import atexit\natexit.register(time.sleep, 60)"),
    endless("thread-that-stays", "threading.Thread(target=time.sleep, args=(60,)).start()"),
    endless("becomes-another", 'os.execv("/usr/bin/sleep", ["sleep", "60"])'),
    endless(
        "timers",
        """
signal.signal(14, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
while True: time.sleep(1)""",
    ),
    Case("sets-the-clock", 'tries(call, "clock_settime", 0, address(bytes(16)))', quick=True),
    Case("adjusts-the-clock", "tries(call, 'adjtimex', 0)"),
    Case("time-namespace", 'tries(lambda: in_child(call, "unshare", 0x80) == 0)'),
    Case("raise-the-limit", "tries(resource.setrlimit, resource.RLIMIT_CPU, (-1, -1))"),
)
