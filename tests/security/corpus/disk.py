"""More bytes, files or attributes than /tmp and /dev/shm may hold."""

from corpus.case import Case, off
from datacomp_worker.sandbox.layers import Layer

SMALL = (off(Layer.SMALL_TMP),)
FILL = """
def fill(place, count=30, size=10 << 20):
    for n in range(count):
        with open(f"{place}/{n}", "wb") as file: file.write(bytes(size))
"""

CASES = (
    Case("fills-tmp", FILL + 'tries(fill, "/tmp")', proves=SMALL),
    Case("fills-shared-memory", FILL + 'tries(fill, "/dev/shm")', proves=SMALL),
    Case("one-big-file", FILL + 'tries(fill, "/tmp", 1, 300 << 20)', proves=(off(Layer.FSIZE, Layer.SMALL_TMP),)),
    Case(
        "a-hole",
        'os.close(os.open("/tmp/hole", os.O_CREAT))\ntries(os.truncate, "/tmp/hole", 1 << 40)',
        proves=(off(Layer.FSIZE),),
        quick=True,
    ),
    Case("allocates", 'fd = os.open("/tmp/big", os.O_CREAT | os.O_RDWR)\ntries(os.posix_fallocate, fd, 0, 1 << 34)'),
    Case(
        "removed-but-open",
        """
kept = []
def fill():
    for n in range(30):
        kept.append(open(f"/tmp/{n}", "wb", 0))
        os.unlink(f"/tmp/{n}")
        kept[-1].write(bytes(10 << 20))
tries(fill)""",
        proves=SMALL,
    ),
    Case(
        "many-files",
        'for n in range(40_000): os.close(os.open(f"/tmp/{n}", os.O_CREAT))\ntime.sleep(5)',
        ("filter-files",),
        proves=(off(Layer.WATCHED_FILES),),
    ),
    Case(
        "many-folders",
        'for n in range(40_000): os.mkdir(f"/dev/shm/{n}")\ntime.sleep(5)',
        ("filter-files",),
        proves=(off(Layer.WATCHED_FILES),),
    ),
    Case(
        "many-links",
        'for n in range(40_000): os.symlink("x" * 4000, f"/tmp/{n}")\ntime.sleep(5)',
        ("filter-files",),
    ),
    Case(
        "attributes",
        """
os.close(os.open("/tmp/one", os.O_CREAT))
def attributes():
    for n in range(60_000): os.setxattr("/tmp/one", f"user.{n}", b"x" * 900)
try: attributes()
except OSError as error: print("HELD", error)
time.sleep(3)""",
        ("filter-files", "scores"),
    ),
    Case(
        "deep-folders", 'os.chdir("/tmp")\nfor _ in range(3000):\n    os.mkdir("d")\n    os.chdir("d")', harmless=True
    ),
    Case("core", "tries(lambda: resource.getrlimit(resource.RLIMIT_CORE)[0] not in (0, 1))", proves=(off(Layer.CORE),)),
    Case(
        "crash",
        'print(in_child(os.abort))\ntries(lambda: [n for n in os.listdir("/tmp") if n.startswith("core")])',
    ),
    Case(
        "wakes-the-core-handler",
        "tries(resource.setrlimit, resource.RLIMIT_CORE, (0, 0))",
        proves=(off(Layer.SECCOMP),),
    ),
    Case(
        "wakes-the-core-handler-otherwise",
        "tries(resource.prlimit, 0, resource.RLIMIT_CORE, (0, 0))",
        proves=(off(Layer.SECCOMP),),
    ),
    Case("raise-the-limit", "tries(resource.setrlimit, resource.RLIMIT_FSIZE, (-1, -1))"),
    Case("larger-tmp", 'tries(lambda: subprocess.run(["mount", "-o", "remount,size=9G", "/tmp"]).returncode == 0)'),
    Case(
        "message-queue",
        'tries(lambda: call("mq_open", address(b"x"), os.O_CREAT | os.O_RDWR, 0o600, 0))',
        proves=(off(Layer.MSGQUEUE, Layer.SECCOMP),),
    ),
)
