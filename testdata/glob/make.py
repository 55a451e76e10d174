"""Writes fnmatch.tsv.gz: patterns, and which names they match in this Python.

The first line has the names. Each further line is a pattern and a string of 0
and 1, one for each name. Texts are bytes in Go's quotes; what is not UTF-8 is
what os.fsdecode makes of it. Run it with Python 3.11 on POSIX: python3 make.py
"""
import fnmatch, gzip, itertools, os, random, re, sys, warnings

warnings.simplefilter("ignore")  # "possible nested set" in [[a]
assert sys.version_info[:2] == (3, 11), sys.version
rnd = random.Random(8670)

NAMES = [
    "", "a", "b", "c", "z", "A", "-", "!", "^", "[", "]", "\\", "|", "&", "~", ".", "*", "?", "0", "/", "\n", "é", "e\u0301",
    "\u20ac", "\U0001f600", "\udcff", "\udcc3", "\ufffd", "\x00", "aa", "ab", "ba", "bb", "abc", "a/b", "a-c", "[a]", "[!a]", "[]", "[!]", "[a-",
    "a.csv", "b.csv", "A.CSV", "x/a.csv", "a.csv.gz", "data-2026-11.csv", ".hidden", "a\nb", "aXbXc", "a\udcffb", "\udcc3\udca9",
    "README.md", "sub/dir/file.parquet", "[x].csv", "{a,b}", "a\\b", "]-a", "^a", "--", "]a", "-]", "aaab", "abab",
]
HAND = [
    "*", "**", "?", "??", "*.csv", "*.CSV", "a*", "*a", "a*b", "*a*", "a?c", "[abc]", "[!abc]", "[a-c]", "[!a-c]", "[z-a]", "[!z-a]",
    "[]", "[!]", "[]]", "[!]]", "[a-]", "[-a]", "[!-a]", "[a-c-z]", "[--0]", "[!--0]", "[]a]", "[!]a]", "[^x]", "[^]", "[^]]", "[[]", "[[a]",
    "[a[]", "[abc", "[!abc", "[", "[!", "a[", "[a-", "[]-a]", "[a-]]", "[\\]", "[\\a]", "[a\\-z]", "\\*", "\\a", "[&&a]", "[a&&b]", "[~~]", "[b-a!x]",
    "[b-a^x]", "[b-a!-x]", "[b-a[x]", "[b-a!]", "[!b-a]", "[!b-a!x]", "[z-ab-ad-e]", "[a-cz-be-f]", "[d-cb-a]", "[é]", "[!é]", "[à-ü]", "[\u20ac-\U0001f600]",
    "[\udc80-\udcff]", "\udcff", "*\udca9", "\udcc3*", "[\udcc3]?", "?\udca9", "\ufffd", "[\ufffd]", "{a,b}", "*/*", "*/*.csv", "a/**/b", ".*", "[.]*",
    "[0-9]*", "*[0-9]*", "*-????-??.*", "[+--]", "[,-.]", "[---]", "[----]", "[-----]", "[a--]", "[a--b]", "[--a]", "[a-b-]", "[a-b-c-d]", "[!a-b-c-d]",
    "[c-a-b]", "[a-\n]", "[\n]", "a\nb", "?*", "*?", "*?*", "*??*?", "*a*b*", "a*a*a*b", "*[!a]*", "[!*]", "[*]", "[?]", "", "[ -~]", "[! -~]",
]


def quote(text):
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else "\\x%02x" % b for b in os.fsencode(text)) + '"'


def pieces(alphabet, n):
    return ("".join(t) for t in itertools.product(alphabet, repeat=n))


def patterns():
    yield from HAND
    for n in range(1, 5):  # every body of a set over the signs that mean something in it
        for body in pieces("ac-!]^", n):
            yield "[" + body + "]"
    for _ in range(3000):  # longer bodies
        yield "[" + "".join(rnd.choice("abcz-!]^[\\&~|.0é\udcff") for _ in range(rnd.randint(4, 9))) + "]"
    for _ in range(3000):  # everything mixed
        yield "".join(rnd.choice(["*", "?", "a", "b", "c", ".csv", "[", "]", "!", "-", "[a-b]", "[!c]", "/", "\\", "é", "\udcff", "^", "X"]) for _ in range(rnd.randint(1, 7)))


def main():
    seen = set()
    names = [os.fsdecode(os.fsencode(n)) for n in NAMES]
    with open("fnmatch.tsv.gz", "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(("\t".join(map(quote, names)) + "\n").encode())
        for p in patterns():
            p = os.fsdecode(os.fsencode(p))
            if p in seen or "|" in p:
                continue
            seen.add(p)
            match = re.compile(fnmatch.translate(p)).match
            out.write((quote(p) + "\t" + "".join("01"[bool(match(n))] for n in names) + "\n").encode())
    print(len(seen), "patterns", len(seen) * len(names), "cases")


main()
