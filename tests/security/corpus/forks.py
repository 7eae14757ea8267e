"""More processes and threads than allowed."""

from corpus.case import TIMEOUT, Case, off
from datacomp_worker.sandbox.layers import Layer

COUNTED = (off(Layer.NPROC), off(Layer.REAL_UID))
ENDS = ("filter-timeout", "filter-memory", "filter-ended", "filter-raised", "scores")
BOMB = "while True:\n    try: os.fork()\n    except OSError: pass"
SLEEPERS = """
def start():
    for _ in range(FACTS["processes"] + 8):
        if os.fork() == 0:
            time.sleep(15)
            os._exit(0)
"""

CASES = (
    Case("bomb", BOMB, ENDS, seconds=3),
    Case("bomb-at-the-head", BOMB, ENDS, seconds=3, head=True),
    Case(
        "bomb-of-the-shell",
        'subprocess.run(["bash", "-c", "b() { b | b & }; b; sleep 9"])',
        ENDS,
        seconds=3,
        harmless=True,
    ),
    Case(
        "bomb-by-exec",
        """
def again():
    while True:
        try: os.fork()
        except OSError: os.execv('/usr/bin/sleep', ['sleep', '9'])
again()""",
        ENDS,
        seconds=3,
    ),
    Case("children", SLEEPERS + "tries(start)", proves=COUNTED, quick=True),
    Case(
        "threads",
        """
held = threading.Event()
def start():
    for _ in range(FACTS["processes"] + 8):
        threading.Thread(target=held.wait, daemon=True).start()
tries(start)
held.set()""",
        proves=COUNTED,
    ),
    Case(
        "programs",
        """
def start():
    for _ in range(FACTS["processes"] + 8):
        subprocess.Popen(["/usr/bin/sleep", "15"])
tries(start)""",
        proves=COUNTED,
    ),
    Case(
        "clone",
        """
def start():
    for _ in range(FACTS["processes"] + 8):
        if libc.fork() == -1: raise OSError(ctypes.get_errno(), "fork")
        if os.getpid() != 1: time.sleep(15)
tries(start)""",
        seconds=20,
    ),
    Case(
        "pool-of-processes",
        "import multiprocessing\nmultiprocessing.get_context('fork').Pool(100).map(time.sleep, [9])",
        ENDS,
        seconds=4,
    ),
    Case("chain", "for _ in range(2000):\n    if os.fork(): os._exit(0)", ("filter-ended",)),
    Case("fast-chain-of-orphans", "for _ in range(300):\n    if os.fork() == 0: os._exit(0)", ENDS, harmless=True),
    Case(
        "chain-in-the-background",
        "if os.fork() == 0:\n    while True:\n        if os.fork(): os._exit(0)",
        ("scores", "filter-raised", "filter-result-malformed"),
        harmless=True,
    ),
    Case(
        "stopped-children",
        "for _ in range(10):\n    if os.fork() == 0:\n        os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(0.2)",
        harmless=True,
    ),
    Case("spinning-children", "for _ in range(8):\n    if os.fork() == 0:\n        while True: pass", harmless=True),
    Case("zombies", "for _ in range(10):\n    if os.fork() == 0: os._exit(0)\ntime.sleep(0.2)", harmless=True),
    Case("raise-the-limit", "tries(resource.setrlimit, resource.RLIMIT_NPROC, (9999, 9999))"),
    Case(
        "waits-for-children",
        "for _ in range(4):\n    if os.fork() == 0:\n        time.sleep(60)\nos.wait()",
        TIMEOUT,
        seconds=3,
    ),
)
