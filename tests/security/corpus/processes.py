"""Seeing, harming and outliving processes; learning who runs this."""

from corpus.case import Case, off
from datacomp_worker.sandbox.layers import Layer

PROCESSES = (off(Layer.PROCESSES),)
DAEMON = """
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for fd in (0, 1, 2, RESULT):
                os.close(fd)
            os.execv("/usr/bin/sleep", ["sleep", FACTS["daemon"]])
        os._exit(0)
time.sleep(0.3)
"""

CASES = (
    Case(
        "sees",
        """
def others():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: words = open(f"/proc/{pid}/cmdline").read()
        except OSError: continue
        if FACTS["decoy_word"] in words: yield pid
tries(lambda: list(others()))""",
        proves=PROCESSES,
    ),
    Case("counts", 'tries(lambda: len([p for p in os.listdir("/proc") if p.isdigit()]) > 3)', proves=PROCESSES),
    Case(
        "kills-the-decoy",
        'tries(os.kill, FACTS["decoy"], signal.SIGKILL)',
        proves=(off(Layer.PROCESSES, Layer.REAL_UID, Layer.USER_NAMESPACE),),
    ),
    Case("signals-the-worker", 'tries(os.kill, FACTS["worker"], 0)'),
    Case("kills-all", "tries(os.kill, -1, signal.SIGKILL)", ("scores", "filter-ended")),
    Case("kills-its-group", "os.killpg(0, signal.SIGKILL)\ntries(lambda: False)", ("scores", "filter-ended")),
    Case("kills-the-first", "os.kill(1, signal.SIGKILL)\ntries(lambda: False)", ("scores", "filter-ended")),
    Case("kills-its-parent", "tries(lambda: os.getppid() and os.kill(os.getppid(), signal.SIGKILL) is None)"),
    Case("outlives-as-daemon", DAEMON, harmless=True, proves=PROCESSES, quick=True),
    Case("outlives-stopped", "if os.fork() == 0:\n    os.kill(os.getpid(), signal.SIGSTOP)", harmless=True),
    Case(
        "outlives-without-signals",
        "if os.fork() == 0:\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n    while True: time.sleep(1)",
        harmless=True,
    ),
    Case("subreaper", "libc.prctl(36, 1, 0, 0, 0)" + DAEMON, harmless=True),
    Case("no-death-signal", "libc.prctl(1, 0, 0, 0, 0)\nif os.fork() == 0:\n    time.sleep(60)", harmless=True),
    Case(
        "without-seccomp",
        """
pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
tries(lambda: [p for p in pids if "Seccomp:\\t2" not in open(f"/proc/{p}/status").read()])""",
        proves=(off(Layer.SECCOMP),),
    ),
    Case(
        "command-line-of-the-sandbox",
        'tries(lambda: "--ro-bind" in open("/proc/1/cmdline").read())',
        proves=(off(Layer.FIRST_PROCESS),),
    ),
    Case(
        "environment",
        """
seen = "".join(open(f"/proc/{p}/environ", errors="replace").read() for p in ("self", "1"))
tries(lambda: FACTS["secret"] in seen + json.dumps(dict(os.environ)))""",
        proves=(off(Layer.CLEAR_ENVIRONMENT),),
    ),
    Case("session", "tries(lambda: os.getsid(0) == 0)", proves=(off(Layer.OWN_SESSION),)),
    Case("host-name", 'tries(lambda: os.uname().nodename == FACTS["host"])', proves=(off(Layer.UTS),)),
    Case("who-runs-this", "tries(lambda: os.getuid() != 65534 or os.getgid() != 65534)", proves=(off(Layer.NOBODY),)),
    Case(
        "user-namespace",
        'tries(lambda: os.readlink("/proc/self/ns/user") == FACTS["user_ns"])',
        proves=(off(Layer.USER_NAMESPACE, Layer.REAL_UID),),
    ),
    Case(
        "cgroup-namespace",
        'tries(lambda: os.readlink("/proc/self/ns/cgroup") == FACTS["cgroup_ns"])',
        proves=(off(Layer.CGROUP_NAMESPACE),),
    ),
    Case(
        "shared-memory-of-the-host",
        'tries(lambda: [l for l in open("/proc/sysvipc/shm") if l.split()[0] == str(FACTS["shm_key"])])',
        proves=(off(Layer.IPC),),
    ),
    Case(
        "first-in-line",
        "tries(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(10))",
        proves=(off(Layer.RTPRIO),),
    ),
    Case("nicer", "tries(os.setpriority, os.PRIO_PROCESS, 0, -5)", proves=(off(Layer.NICE),)),
    Case("not-killed-for-memory", 'tries(write, "/proc/self/oom_score_adj", "-1000")'),
)
