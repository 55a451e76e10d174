"""Section 5's table: what a grant on a parent P, or on its child K, lets
somebody see and do. Each cell is a check; a row is looked at once."""
import datetime

from world import check, expect, holds, refused
from speaker import Refused

KEYS = {"read": {"aws_access_key_id": "R", "aws_secret_access_key": "r"}, "write": {"aws_access_key_id": "W", "aws_secret_access_key": "w"}}
NO = ("403", "403")

# A row: its title, the grants in order (on "P" or "K"), then what the grantee
# gets: GET P, GET K, the list, the role on K, credentials of P and of K (read,
# write), PUT on P and K.
ROWS = {
    "none": ("nothing", [], ("403", "403", "", None, NO, NO)),
    "revoked": ("P read, revoked", [("P", {"username": 1, "role": "read"}), ("P", {"username": 1, "role": "revoke"})], ("403", "403", "", None, NO, NO)),
    "P-read": ("P read", [("P", {"username": 1, "role": "read"})], ("200", "200", "PK", "read", ("200", "403"), ("200", "403"))),
    "K-read": ("K read", [("K", {"username": 1, "role": "read"})], ("403", "200", "K", "read", NO, ("200", "403"))),
    "K-read-revoked": ("K read, revoked", [("K", {"username": 1, "role": "read"}), ("K", {"username": 1, "role": "revoke"})], ("403", "403", "", None, NO, NO)),
    "P-write": ("P write, by e-mail", [("P", {"email": 1, "role": "write"})], ("200", "200", "PK", "write", ("200", "200"), ("200", "200"))),
    "P-write-expired": ("P write, expired 2 days ago", [("P", {"email": 1, "role": "write", "expiration_date": -2})], ("403", "403", "", None, NO, NO)),
    "K-write": ("K write, by e-mail", [("K", {"email": 1, "role": "write"})], ("403", "200", "K", "write", NO, ("200", "200"))),
    "K-write-revoked": ("K write by e-mail, revoked by name", [("K", {"email": 1, "role": "write"}), ("K", {"username": 1, "role": "revoke"})], ("403", "403", "", None, NO, NO)),
    "public-read": ("P public read", [("P", {"username": "public", "role": "read"})], ("200", "200", "PK", "read", ("200", "403"), ("200", "403"))),
    "public-write": ("P public read, then public write, which grants nothing and replaces it",
                     [("P", {"username": "public", "role": "read"}), ("P", {"username": "public", "role": "write"})], ("403", "403", "", None, NO, NO)),
    "public-revoked": ("P public read, revoked", [("P", {"username": "public", "role": "read"}), ("P", {"username": "public", "role": "revoke"})], ("403", "403", "", None, NO, NO)),
}
CELLS = ("get-P", "get-K", "list", "role", "credentials-P", "credentials-K")


def grant(w, who, settings):
    """Fills in the grantee and the date."""
    out = dict(settings)
    for key, value in (("username", who.name), ("email", who.email)):
        if out.get(key) == 1:
            out[key] = value
    if "expiration_date" in out:
        out["expiration_date"] = (datetime.datetime.now() + datetime.timedelta(days=out["expiration_date"])).date().strftime("%Y-%m-%d")
    return out


def status(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Refused as refusal:
        return str(refusal.status)
    return "200"


def look(w, row):
    """Makes P and K, grants, and looks at them as the grantee, once per row."""
    if row in w.seen:
        return w.seen[row]
    P = w.s3(credentials=KEYS)
    K = w.pipe(parent=P, options={"dir": "vendorX/", "include": "*.csv"})
    bob = w.bob
    bob.final.list_pipes()
    for on, settings in ROWS[row][1]:
        w.alice.final.permit({"P": P, "K": K}[on], **grant(w, bob, settings))
    listed = bob.final.list_pipes()
    seen = {
        "get-P": status(bob.final.call, "GET", "pipes", P),
        "get-K": status(bob.final.call, "GET", "pipes", K),
        "list": "".join(k for k, name in (("P", P), ("K", K)) if name in listed),
        "put-P": status(bob.final.call, "PUT", "pipes", P, body={"bad": "request"}),
        "put-K": status(bob.final.call, "PUT", "pipes", K, body={"bad": "request"}),
        "owner": (w.alice.final.open(P)["role"], w.alice.final.open(K)["role"], P in w.alice.final.list_pipes() and K in w.alice.final.list_pipes()),
    }
    seen["role"] = bob.final.open(K)["role"] if seen["get-K"] == "200" else None
    for key, name in (("P", P), ("K", K)):
        seen["credentials-" + key] = tuple(status(bob.final.credentials, name, role) for role in ("read", "write"))
        seen["keys-" + key] = bob.final.credentials(name, "read") if seen["credentials-" + key][0] == "200" else None
    for name in (K, P):
        w.alice.final.call("DELETE", "pipes", name)
    w.seen[row] = seen
    return seen


for row, (title, _, wants) in ROWS.items():
    for cell, want in zip(CELLS, wants):
        def run(w, row=row, cell=cell, want=want):
            expect(look(w, row)[cell], want)
        check("grant-%s-%s" % (row, cell), "T", "final", "%s: %s is %s" % (title, cell, want))(run)

    def run(w, row=row):
        expect((look(w, row)["put-P"], look(w, row)["put-K"]), NO)
    check("grant-%s-put" % row, "T", "final", "%s: PUT of a broken body is 403 on P and K" % title)(run)

    def run(w, row=row):
        expect(look(w, row)["owner"], ("write", "write", True))
    check("grant-%s-owner" % row, "T", "final", "%s: the owner still sees and writes both" % title)(run)

    if wants[5][0] == "200":
        def run(w, row=row):
            expect(look(w, row)["keys-K"], KEYS["read"])
        check("grant-%s-keys" % row, "T", "final", "%s: the credentials are the read set of the root" % title)(run)


@check("grant-sequence", "T", "final", "the rows one after another on the same pipes, with whole lists, as the client's own suite has it")
def _(w):
    eve, owner = w.stranger(), w.stranger("owner")
    P, K = w.name("P"), w.name("K")
    owner.final.upsert_pipe({"name": P, "protocol": "s3", "location": "b", "credentials": KEYS})
    owner.final.upsert_pipe({"name": K, "parent": P, "options": {"dir": "vendorX/"}})
    steps = [
        (None, None, ""), (P, {"username": 1, "role": "read"}, "PK"), (P, {"username": 1, "role": "revoke"}, ""),
        (K, {"username": 1, "role": "read"}, "K"), (K, {"username": 1, "role": "revoke"}, ""),
        (P, {"email": 1, "role": "write", "expiration_date": -2}, ""), (P, {"email": 1, "role": "write"}, "PK"), (P, {"email": 1, "role": "revoke"}, ""),
        (K, {"email": 1, "role": "write"}, "K"), (K, {"username": 1, "role": "revoke"}, ""),
        (P, {"username": "public", "role": "read"}, "PK"), (P, {"username": "public", "role": "write"}, ""), (P, {"username": "public", "role": "revoke"}, ""),
    ]
    try:
        for on, settings, want in steps:
            if on:
                owner.final.permit(on, **grant(w, eve, settings))
            expect(eve.final.list_pipes(), sorted({"P": P, "K": K}[k] for k in want), str(settings))
            for key, name in (("P", P), ("K", K)):
                expect(status(eve.final.call, "GET", "pipes", name), "200" if key in want else "403", "%s after %s" % (key, settings))
    finally:
        owner.final.unregister(owner.name)
        eve.final.unregister(eve.name)


@check("grant-managed", "T", "final", "managed: sharing the parent shares the child, sharing the child does not share the parent")
def _(w):
    P = w.pipe(name=w.name("managed"))
    K = w.pipe(parent=P, options={"dir": "child"})
    refused(w.bob.final.open, P, status=403)
    w.alice.final.permit(P, username=w.bob.name, role="read")
    expect((w.bob.final.open(P)["name"], w.bob.final.open(K)["name"]), (P, K))
    w.alice.final.permit(P, username=w.bob.name, role="revoke")
    refused(w.bob.final.open, P, status=403)
    w.alice.final.permit(K, username=w.bob.name, role="read")
    refused(w.bob.final.open, P, status=403)
    expect(w.bob.final.open(K)["name"], K)
    w.alice.final.permit(K, username=w.bob.name, role="revoke")
    refused(w.bob.final.open, K, status=403)
