"""Reading what is not given, writing anywhere."""

from corpus.case import Case, off
from datacomp_worker.sandbox.layers import Layer

HOST = (off(Layer.PRIVATE_ROOT),)
WRITES = (off(Layer.READ_ONLY),)
SEALED = (off(Layer.SEALED_ROOT),)

CASES = (
    Case("passwd", 'tries(lambda: open("/etc/passwd").read())', proves=HOST),
    Case("shadow", 'tries(lambda: open("/etc/shadow").read())'),
    Case("canary", 'tries(lambda: open(FACTS["canary"]).read())'),
    Case(
        "host-folders",
        'tries(lambda: [p for p in ("/home", "/var", "/run", "/sys", "/boot") if os.path.exists(p)])',
        proves=HOST,
    ),
    Case("beside-the-pool", 'tries(lambda: [p for p in os.listdir("/pool") if p not in ("metadata", "pack")])'),
    Case("images", 'tries(os.listdir, "/pool/shards")'),
    Case("truth", 'tries(lambda: open("/pool/truth.parquet").read())'),
    Case("pool-at-home", 'tries(os.listdir, FACTS["pool"])'),
    Case("workspace", 'tries(os.listdir, FACTS["workspace"])'),
    Case("new-in-pool", 'tries(write, "/pool/metadata/" + MARK)', proves=WRITES, quick=True),
    Case("change-pool", 'tries(lambda: open("/pool/pack/columns/words.npy", "r+b").close())', proves=WRITES),
    Case("remove-from-pool", 'tries(os.rename, "/pool/metadata/00000000.parquet", "/pool/metadata/" + MARK)'),
    Case(
        "map-pool",
        """
fd = os.open("/pool/pack/columns/words.npy", os.O_RDONLY)
tries(mmap.mmap, fd, 0, mmap.MAP_SHARED, mmap.PROT_WRITE)""",
    ),
    Case("chmod-pool", 'tries(os.chmod, "/pool/pack/columns/words.npy", 0o777)'),
    Case("usr", 'tries(write, "/usr/bin/" + MARK)'),
    Case("root", 'tries(os.mkdir, "/" + MARK)', proves=SEALED),
    Case("dev", 'tries(write, "/dev/" + MARK)', proves=SEALED),
    Case("packages", "import datacomp\ntries(write, os.path.join(os.path.dirname(datacomp.__file__), MARK))"),
    Case(
        "path-file",
        'import numpy\ntries(write, os.path.join(os.path.dirname(os.path.dirname(numpy.__file__)), MARK + ".pth"))',
    ),
    Case("interpreter", "tries(write, os.path.join(os.path.dirname(os.__file__), MARK))"),
    Case("own-file", 'tries(write, os.path.join("/submission", os.listdir("/submission")[0]))'),
    Case("first-process-root", 'tries(lambda: open("/proc/1/root/etc/passwd").read())', proves=HOST),
    Case("proc-sys", 'tries(write, "/proc/sys/kernel/core_pattern", "|/tmp/x")'),
    Case("sysrq", 'tries(write, "/proc/sysrq-trigger", "h")'),
    Case("kcore", 'tries(lambda: open("/proc/kcore", "rb").read(1))'),
    Case("kernel-memory", 'tries(lambda: open("/dev/mem", "rb").read(1))'),
    Case("dot-dot", 'tries(lambda: open("/pool/../../../../etc/passwd").read())', proves=HOST),
    Case(
        "disks", 'tries(lambda: [n for n in os.listdir("/dev") if n.startswith(("sd", "vd", "nvme", "loop", "dm-"))])'
    ),
    Case("accelerators", 'tries(lambda: [n for n in os.listdir("/dev") if n.startswith(("nvidia", "dri", "kfd"))])'),
)
