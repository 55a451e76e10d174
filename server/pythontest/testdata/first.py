"""Sections 7 and 8 of the contract: the first generation, remotes with pipes on
them, and both generations in one server."""
import datetime

from speaker import Refused
from world import check, expect, holds, refused


def status(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Refused as refusal:
        return refusal.status
    return 200


@check("remote-create", "T", "first", "create_or_update of a new remote ends in POST's reply, 201")
def _(w):
    name = w.remote()
    rows = w.alice.first.call("GET", "remotes").data
    holds(name in [r["name"] for r in rows], "it is not in the list")


@check("remote-list-empty", "T", "first", "who has no remotes has a bare, empty array of them, and of pipes")
def _(w):
    eve = w.stranger()
    for path in ("remotes", "pipes"):
        expect(eve.first.call("GET", path).body.strip(), b"[]")
    eve.final.unregister(eve.name)


@check("remote-taken", "T", "first", "a name that is taken: unique")
def _(w):
    refused(w.alice.first.call, "POST", "remotes", body={"name": w.remote(), "protocol": "s3", "location": "b"}, text="unique")


@check("remote-bad-name", "T", "first", "$invalid: alphanumeric")
def _(w):
    refused(w.alice.first.call, "POST", "remotes", body={"name": "$invalid", "protocol": "s3", "location": "b"}, text="alphanumeric")


@check("remote-unknown", "T", "first", "GET and PATCH of what is not there: 404 Not found")
def _(w):
    for method in ("GET", "PATCH"):
        refused(w.alice.first.call, method, "remotes", w.name("no"), body={"location": "x"}, text="Not found", status=404)


@check("remote-foreign", "T", "first", "a remote that is not for me: 403, and not in my list")
def _(w):
    name = w.remote()
    refused(w.bob.first.call, "GET", "remotes", name, text="403", status=403)
    holds(name not in [r["name"] for r in w.bob.first.call("GET", "remotes").data], "it is in the list")


@check("remote-credentials", "T", "first", "readCredentials and writeCredentials come back exactly as they were posted")
def _(w):
    read = {"aws_access_key_id": "A", "aws_secret_access_key": "B", "region_name": "r", "x": {"deep": [1]}}
    write = {"aws_access_key_id": "C", "aws_secret_access_key": "D"}
    got = w.alice.first.call("GET", "remotes", w.remote(readCredentials=read, writeCredentials=write)).data
    expect((got["readCredentials"], got["writeCredentials"]), (read, write))


@check("remote-null-credentials", "T", "first", "credentials without values, as an environment without keys makes them, come back as well")
def _(w):
    keys = {"aws_access_key_id": None, "aws_secret_access_key": None}
    got = w.alice.first.call("GET", "remotes", w.remote(readCredentials=keys, writeCredentials=keys)).data
    expect(got["readCredentials"], keys)


@check("remote-delete", "T", "first", "DELETE is a 204 on remotes and on pipes")
def _(w):
    remote = w.remote()
    pipe = w.on(remote)
    for path, name in (("pipes", pipe), ("remotes", remote)):
        answer = w.alice.first.call("DELETE", path, name)
        expect((answer.status, answer.body), (204, b""))
        refused(w.alice.first.call, "GET", path, name, status=404)


@check("remote-update", "T", "first", "create_or_update of a known remote changes it")
def _(w):
    name = w.remote(settings={"pipedir": "dir1"})
    w.alice.first.create_or_update("remotes", {"name": name, "protocol": "s3", "location": "b", "settings": {"pipedir": "dir2"}})
    got = w.alice.first.call("GET", "remotes", name).data
    expect((got["settings"], got["readCredentials"]["aws_access_key_id"]), ({"pipedir": "dir2"}, "READ"))


@check("pipe-settings", "T", "first", "a pipe's remote and settings come back exactly, nothing added")
def _(w):
    remote = w.remote()
    settings = {"remotedir": "vendorX/", "include": "*.csv", "own": {"a": [1, 2.5]}}
    got = w.alice.first.call("GET", "pipes", w.on(remote, settings=settings, readParams={"pandas": {"sep": ","}})).data
    expect((got["remote"], got["settings"], got["readParams"]), (remote, settings, {"pandas": {"sep": ","}}))
    row = [r for r in w.alice.first.call("GET", "pipes").data if r["name"] == got["name"]][0]
    expect(row["settings"], settings)


@check("pipe-no-remote", "I", "first", "a remote that is not there: does not exist")
def _(w):
    refused(w.alice.first.create_or_update, "pipes", {"name": w.name(), "remote": w.name("no")}, text="does not exist")


@check("pipe-is-no-remote", "T", "first", "GET of remotes/ with a pipe's name: 404")
def _(w):
    pipe = w.on(w.remote())
    for who in (w.alice, w.bob):
        refused(who.first.call, "GET", "remotes", pipe, text="404", status=404)


for field in ("settings", "readParams", "readCredentials", "writeCredentials"):
    def run(w, field=field):
        remote = w.remote() if "Cred" not in field else None
        if remote is None:
            remote = w.name("remote")
            w.alice.first.create_or_update("remotes", {"name": remote, "protocol": "s3", "location": "b"})
        pipe = w.on(remote)
        for path, name in (("remotes", remote), ("pipes", pipe)):
            got = w.alice.first.call("GET", path, name).data
            holds(got.get(field, {}) is not None, "%s of a %s is null" % (field, path))
        w.alice.first.open(pipe)
    check("null-" + field, "C", "first", "a %s that was never given is absent or an object, never null" % field)(run)

    def run(w, field=field):
        remote, pipe = w.remote(), w.name()
        w.alice.first.ask("PATCH", "remotes", remote, body={field: None})
        w.alice.first.ask("POST", "pipes", body={"name": pipe, "remote": remote, field: None})
        if w.alice.first.ask("GET", "pipes", pipe).status == 200:
            w.alice.first.open(pipe)
    check("null-given-" + field, "C", "first", "a %s that was given as null does not crash the client" % field)(run)


@check("open", "C", "first", "opening a pipe finds its path and both sets of credentials")
def _(w):
    pipe = w.on(w.remote(), settings={"remotedir": "vendorX/"})
    path, read, write = w.alice.first.open(pipe)
    expect((path, read["aws_access_key_id"], write["aws_access_key_id"]), ("s3://bucket-of-alice/vendorX/", "READ", "WRITE"))


@check("open-pipe-credentials", "I", "first", "a pipe's own credentials come back too")
def _(w):
    pipe = w.on(w.remote(), readCredentials={"aws_access_key_id": "OWN"})
    expect(w.alice.first.open(pipe)[1]["aws_access_key_id"], "OWN")


for protocol in ("ftp", "sftp"):
    def run(w, protocol=protocol):
        keys = {"username": "u", "password": "p"}
        remote = w.remote(protocol=protocol, location="h", readCredentials=keys, writeCredentials=keys)
        path, read, write = w.alice.first.open(w.on(remote, settings={"remotedir": "/home/x/vendorX"}))
        expect((path, read, write), ("/home/x/vendorX/", keys, keys))
    check("open-" + protocol, "T", "first", protocol + ": location and credentials as posted")(run)


# who may do what: a pipe follows its remote

GRANTS = {
    "none": ([], False, False),
    "read": ([{"user": 1, "role": "read"}], True, False),
    "write": ([{"user": 1, "role": "read"}, {"user": 1, "role": "write"}], True, True),
    "revoke": ([{"user": 1, "role": "write"}, {"user": 1, "role": "revoke"}], False, False),
    "public-read": ([{"user": "public", "role": "read"}], True, False),
    "public-write": ([{"user": "public", "role": "read"}, {"user": "public", "role": "write"}], False, False),
    "public-revoke": ([{"user": "public", "role": "read"}, {"user": "public", "role": "revoke"}], False, False),
    "username-read": ([{"username": 1, "role": "read"}], True, False),
    "email-expired": ([{"email": 1, "role": "write", "expiration_date": -2}], False, False),
    "email-write": ([{"email": 1, "role": "write", "expiration_date": -2}, {"email": 1, "role": "write"}], True, True),
    "email-revoke": ([{"email": 1, "role": "write"}, {"username": 1, "role": "revoke"}], False, False),
    "username-public": ([{"username": "public", "role": "read"}], True, False),
}


def filled(who, grant):
    out = {k: {"user": who.name, "username": who.name, "email": who.email}[k] if v == 1 else v for k, v in grant.items()}
    if "expiration_date" in out:
        out["expiration_date"] = (datetime.datetime.now() + datetime.timedelta(days=out["expiration_date"])).date().strftime("%Y-%m-%d")
    return out


def look(w, row):
    """Makes a remote and a pipe, grants, and looks as the grantee, once per row."""
    key = "first-" + row
    if key in w.seen:
        return w.seen[key]
    remote = w.remote()
    pipe = w.on(remote, settings={"remotedir": "d"})
    bob = w.bob.first
    for grant in GRANTS[row][0]:
        w.alice.first.permit(remote, **filled(w.bob, grant))
    seen = {
        "remote": status(bob.call, "GET", "remotes", remote),
        "pipe": status(bob.call, "GET", "pipes", pipe),
        "lists": (remote in [r["name"] for r in bob.call("GET", "remotes").data], pipe in [p["name"] for p in bob.call("GET", "pipes").data]),
        "put": (status(bob.call, "PUT", "remotes", remote, body={"bad": "request"}), status(bob.call, "PUT", "pipes", pipe, body={"bad": "request"})),
        "write": None, "listed": None,
    }
    if seen["remote"] == 200:
        got = bob.call("GET", "remotes", remote).data
        seen["write"] = got.get("writeCredentials", "absent"), "readCredentials" in got
        row_ = [r for r in bob.call("GET", "remotes").data if r["name"] == remote]
        seen["listed"] = row_ and "writeCredentials" in row_[0]
    for path, name in (("pipes", pipe), ("remotes", remote)):
        w.alice.first.call("DELETE", path, name)
    w.seen[key] = seen
    return seen


for row, (_, reads, writes) in GRANTS.items():
    mark = "T"
    want = 200 if reads else 403
    for cell, value, what in (
        ("remote", want, "GET of the remote is %d" % want),
        ("pipe", want, "GET of the pipe is %d" % want),
        ("lists", (reads, reads), "remote and pipe are %s the lists" % ("in" if reads else "not in")),
        ("put", (403, 403), "PUT of a broken body is 403 on both"),
    ):
        def run(w, row=row, cell=cell, value=value):
            expect(look(w, row)[cell], value)
        check("share-%s-%s" % (row, cell), mark, "first", "%s: %s" % (row, what))(run)
    if reads:
        def run(w, row=row, writes=writes):
            secret = {"aws_access_key_id": "WRITE", "aws_secret_access_key": "w"} if writes else "absent"
            expect(look(w, row)["write"], (secret, True))
            expect(look(w, row)["listed"], writes, "in the list")
        check("share-%s-credentials" % row, mark, "first", "%s: writeCredentials are %s" % (row, "there" if writes else "absent, not null"))(run)


@check("share-owner", "T", "first", "the owner has both sets, whatever is granted")
def _(w):
    remote = w.remote()
    w.alice.first.permit(remote, user=w.bob.name, role="read")
    holds("writeCredentials" in w.alice.first.call("GET", "remotes", remote).data, "writeCredentials is absent")


@check("share-client", "C", "first", "a reader's client finds no write credentials, a writer's does")
def _(w):
    remote = w.remote()
    pipe = w.on(remote)
    w.alice.first.permit(remote, user=w.bob.name, role="read")
    expect(w.bob.first.open(pipe)[2], {})
    w.alice.first.permit(remote, user=w.bob.name, role="write")
    expect(w.bob.first.open(pipe)[2]["aws_access_key_id"], "WRITE")


# managed storage


@check("managed-remote", "T", "first", "d6tfree: shown as s3, location with user and remote name, two sets of keys with aws_session_token")
def _(w):
    name = w.name("managed")
    w.alice.first.create_pipe_with_remote({"name": name, "protocol": "d6tfree"})
    expect(w.alice.first.call("GET", "pipes", name).data["remote"], name)
    got = w.alice.first.call("GET", "remotes", name).data
    expect(got["protocol"], "s3")
    holds(got["location"].endswith("/%s/%s" % (w.alice.name, name)), got["location"])
    read, write = got["readCredentials"], got["writeCredentials"]
    holds("aws_session_token" in read and "aws_session_token" in write, "no aws_session_token")
    holds(read["aws_access_key_id"] != write["aws_access_key_id"], "the same key")
    path = w.alice.first.open(name)[0]
    holds(path == "s3://" + got["location"] + "/", path)


@check("managed-remote-reader", "T", "first", "d6tfree: a reader has the read keys only")
def _(w):
    name = w.name("managed")
    w.alice.first.create_pipe_with_remote({"name": name, "protocol": "d6tfree"})
    refused(w.bob.first.open, name, text="403")
    w.alice.first.permit(name, user=w.bob.name, role="read")
    _, read, write = w.bob.first.open(name)
    expect(("aws_session_token" in read, write), (True, {}))
    w.alice.first.permit(name, user=w.bob.name, role="write")
    holds("aws_session_token" in w.bob.first.open(name)[2], "a writer has no keys")


@check("managed-remote-keywords", "C", "first", "d6tfree: no key that boto3 would not take as a keyword")
def _(w):
    from final import ALLOWED
    name = w.name("managed")
    w.alice.first.create_pipe_with_remote({"name": name, "protocol": "d6tfree"})
    for keys in w.alice.first.open(name)[1:]:
        holds(set(keys) <= ALLOWED, set(keys) - ALLOWED)


# section 8, both generations in one server


@check("both-name-alone", "T", "final", "POST pipes with a name alone makes a managed pipe")
def _(w):
    expect(w.alice.final.open(w.pipe(name=w.name("managed")))["protocol"], "s3")


@check("both-same-name", "C", "first", "a remote and a pipe may have the same name")
def _(w):
    name = w.remote()
    w.on(name, name=name)
    expect(w.alice.first.call("GET", "pipes", name).data["remote"], name)


@check("both-list", "C", "final", "the last generation lists and opens what the first one made, and the other way round")
def _(w):
    old = w.on(w.remote(), settings={"remotedir": "d"})
    new = w.s3()
    names = w.alice.final.list_pipes()
    holds(old in names and new in names, "not in the list")
    holds({old, new} <= {p["name"] for p in w.alice.first.call("GET", "pipes").data}, "not in the first generation's list")


@check("both-grants", "I", "first", "grants on remotes take user, username and email")
def _(w):
    for key, value in (("user", w.bob.name), ("username", w.bob.name), ("email", w.bob.email)):
        remote = w.remote()
        w.alice.first.permit(remote, **{key: value}, role="read")
        expect(w.bob.first.call("GET", "remotes", remote).status, 200, key)
