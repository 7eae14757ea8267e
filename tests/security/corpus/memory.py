"""More memory than allowed, or memory that nobody counts."""

from corpus.case import Case, off
from datacomp_worker.sandbox.layers import Layer

SECCOMP = (off(Layer.SECCOMP),)
WATCHED = (off(Layer.WATCHED_MEMORY),)
SPREAD = """
for _ in range(9):
    if os.fork() == 0:
        kept = bytearray(120 << 20)
        kept[::4096] = b"x" * len(kept[::4096])
        time.sleep(2)
        os._exit(0)
time.sleep(2)
"""
SOCKETS = """
for _ in range(16):
    if os.fork() == 0:
        pairs = [socket.socketpair() for _ in range(100)]
        for one, other in pairs:
            one.setblocking(False)
            try:
                while True: one.send(b"x" * 4096)
            except OSError: pass
        time.sleep(2)
        os._exit(0)
time.sleep(2)
"""

CASES = (
    Case("heap", "tries(bytearray, 1 << 30)", proves=(off(Layer.DATA),), quick=True),
    Case("heap-all-at-once", "tries(bytearray, 1 << 40)"),
    Case(
        "heap-bit-by-bit", "kept = []\nwhile True: kept.append(bytearray(1 << 20))", ("filter-memory", "filter-ended")
    ),
    Case(
        "in-silence",
        "kept = []\ntry:\n    while True: kept.append(bytearray(1 << 20))\nexcept MemoryError: print('HELD')",
    ),
    Case("array", "import numpy\ntries(numpy.ones, 1 << 34)"),
    Case(
        "break", "libc.sbrk.restype = ctypes.c_long\ntries(lambda: libc.sbrk(1 << 30) != -1)", proves=(off(Layer.DATA),)
    ),
    Case("reserved", "tries(lambda: mmap.mmap(-1, 1 << 36, 0x4022, 0))", proves=(off(Layer.AS),)),
    Case("all-processes-together", SPREAD, ("filter-memory",), proves=WATCHED),
    Case("sockets", SOCKETS, ("filter-memory",), proves=WATCHED),
    Case("shared", "tries(mmap.mmap, -1, 1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)", proves=SECCOMP),
    Case(
        "shared-zero",
        'fd = os.open("/dev/zero", os.O_RDWR)\ntries(mmap.mmap, fd, 1 << 20)',
        proves=(off(Layer.NO_ZERO),),
    ),
    Case("memfd", 'tries(os.memfd_create, "x")', proves=SECCOMP),
    Case("secret-memory", 'tries(call, "memfd_secret", 0)'),
    Case("system-v", 'tries(call, "shmget", FACTS["shm_key"] + 1, 1 << 20, 0o1600)', proves=SECCOMP),
    Case("system-v-queue", 'tries(call, "msgget", 0, 0o1600)', proves=SECCOMP),
    Case(
        "locked",
        "tries(lambda: libc.mlock(ctypes.c_void_p(address(bytes(8192))), 4096) == 0)",
        proves=(off(Layer.MEMLOCK),),
    ),
    Case("locked-all", "tries(lambda: libc.mlockall(2) == 0)"),
    Case(
        "record-locks",
        """
def lock():
    with open("/tmp/locks", "w") as file:
        for n in range(1000): fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * n)
tries(lock)""",
        proves=SECCOMP,
        quick=True,
    ),
    Case(
        "pending-signals",
        """
signal.pthread_sigmask(signal.SIG_BLOCK, {40})
def queue():
    for n in range(3000):
        error = libc.pthread_sigqueue(ctypes.c_ulong(threading.get_ident()), 40, ctypes.c_void_p(n))
        if error: raise OSError(error, "sigqueue")
tries(queue)""",
        proves=(off(Layer.SIGPENDING),),
    ),
    Case(
        "stacks-of-threads",
        """
threading.stack_size(1 << 31)
def start(): threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
tries(lambda: [start() for _ in range(4)])""",
    ),
    Case("raise-the-limit", "tries(resource.setrlimit, resource.RLIMIT_DATA, (-1, -1))"),
    Case(
        "pipes",
        """
def fill():
    for _ in range(300):
        r, w = os.pipe()
        fcntl.fcntl(w, 1031, 1 << 20)
        os.set_blocking(w, False)
        os.write(w, bytes(1 << 20))
tries(fill)""",
    ),
)
