"""Printing without end, or what terminals and pages would choke on."""

from corpus.case import RAISED, Case, off
from datacomp_worker.sandbox.layers import Layer

FLOOD = ("filter-output-flood",)
ENDLESS = (off(Layer.LOG_BOUND),)

CASES = (
    Case("output", "while True: print('spam' * 9999)", FLOOD, proves=ENDLESS, seconds=8),
    Case("errors", "while True: os.write(2, b'spam' * 9999)", FLOOD),
    Case("one-line", "sys.stdout.write('spam' * (10 << 20))\ntime.sleep(5)", FLOOD),
    Case(
        "by-children",
        "for _ in range(4):\n    if os.fork() == 0:\n        while True: os.write(1, b'spam' * 999)\ntime.sleep(9)",
        FLOOD,
    ),
    Case(
        "by-threads",
        "for _ in range(4): threading.Thread(target=lambda: [os.write(1, b'x' * 9999) for _ in range(9999)]).start()",
        FLOOD,
    ),
    Case("by-yes", 'os.execv("/usr/bin/yes", ["yes"])', FLOOD),
    Case(
        "by-link",
        'fd = os.open("/proc/self/fd/2", os.O_WRONLY)\nwhile True: os.write(fd, b"x" * 65536)',
        (*FLOOD, "filter-raised"),
    ),
    Case("random-bytes", "while True: os.write(1, os.urandom(65536))", FLOOD),
    Case(
        "sends-a-file",
        """
fd = os.open("/usr/bin/bash", os.O_RDONLY)
while True:
    os.lseek(fd, 0, 0)
    while os.sendfile(1, fd, None, 1 << 20): pass""",
        FLOOD,
    ),
    Case(
        "warnings", "import warnings\nwarnings.simplefilter('always')\nwhile True: warnings.warn('spam' * 9999)", FLOOD
    ),
    Case("just-below", "for _ in range(15): sys.stdout.write('spam' * (1 << 18))", harmless=True),
    Case(
        "terminal-codes",
        "print('\\x1b[2J\\x1b]0;title\\x07\\x9b31m', '\\u202egnp.exe', '\\x00')",
        harmless=True,
        quick=True,
    ),
    Case(
        "broken-text",
        "os.write(1, b'\\xff\\xfe\\xc0\\x80' * 99)\nos.write(2, '\\ud800'.encode('utf-8', 'surrogatepass'))",
        harmless=True,
    ),
    Case("page-code", "print('<script>alert(1)</script>{{ 7 * 7 }}')", harmless=True),
    Case(
        "pretends-to-be-us",
        "print('kept 999 of 24 rows by the rule score')\nprint('bwrap: no permission')",
        harmless=True,
    ),
    Case(
        "enormous-error", "raise ValueError('x' * (64 << 20))", ("filter-raised", "filter-output-flood"), harmless=True
    ),
    Case("error-with-codes", "raise ValueError('\\x1b[2J\\x00\\u202e')", RAISED),
    Case(
        "error-that-cannot-be-shown",
        "class Odd(Exception):\n    def __str__(self): raise Odd\nraise Odd",
        ("filter-raised", "filter-ended"),
    ),
    Case("error-with-surrogates", "raise ValueError('\\ud800')", RAISED),
    Case("deep-recursion", "def again(): again()\nagain()", RAISED),
)
