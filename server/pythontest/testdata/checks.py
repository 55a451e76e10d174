"""Runs the table of checks against a server. Standard input is a JSON object:

    {"url": "http://127.0.0.1:8670",     the server
     "lacks": {"demo": "why"},           what it cannot do: such checks are skipped
     "demo_password": "...",             of an account demo that is there already
     "s3": {...}, "bucket": "...",       a bucket of one's own, with its keywords for boto3
     "only": ["root"]}                   the checks to carry out; all of them if absent

Standard output is a JSON object a line: first {"table": [ids]}, then one for each
check, in its order. "--table" as argument prints the table for people instead."""
import json
import sys
import traceback

import world
import transport
import final
import permissions
import first
import files

transport.enter_last()

def carry_out(check, w):
    """Returns the check's state and what there is to say."""
    for need in check.needs:
        if need in w.config.get("lacks", {}):
            return "skip", w.config["lacks"][need]
    try:
        check.run(w)
    except world.Skip as skip:
        return "skip", str(skip)
    except Exception as e:
        where = [f for f in traceback.extract_tb(e.__traceback__) if f.filename.endswith(".py")]
        lines = ["%s:%d %s" % (f.filename.rpartition("/")[2], f.lineno, f.line) for f in where if f.name not in ("carry_out", "expect", "holds")]
        return "fail", "%s: %s\n  at %s" % (type(e).__name__, e, "\n  at ".join(reversed(lines)))
    return "pass", ""


def say(row):
    print(json.dumps(row), flush=True)


def main():
    if sys.argv[1:] == ["--table"]:
        for c in world.TABLE:
            print("%-36s %s %-5s %s" % (c.id, c.mark, c.generation, c.what))
        return
    w = world.World(json.load(sys.stdin))
    only = w.config.get("only") or [c.id for c in world.TABLE]
    table = [c for c in world.TABLE if c.id in only]
    say({"table": [c.id for c in table]})
    try:
        for c in table:
            state, text = carry_out(c, w)
            say({"id": c.id, "mark": c.mark, "generation": c.generation, "what": c.what, "state": state, "text": text})
    finally:
        w.close()


if __name__ == "__main__":
    main()
