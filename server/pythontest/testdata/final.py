"""Sections 2, 3, 4 and 6 of the contract: the last generation."""
import datetime

from world import check, expect, holds, refused

# accounts and the root


@check("root", "C", "final", "the root says who the token's holder is; a message, if there is one, is text")
def _(w):
    data = w.alice.final.call("GET").data
    expect(data["username"], w.alice.name)
    holds(isinstance(data.get("message", ""), str), data)


@check("root-bad-token", "C", "final", "the root knows no bad token: no 2xx, or no username")
def _(w):
    answer = w.final("0" * 40).ask("GET")
    holds(answer.status // 100 != 2 or "username" not in answer.data, answer.body)


@check("register", "C", "final", "register is a 201 with a token that works at once")
def _(w):
    name = w.name("frank")
    answer = w.final().call("POST", "accounts", body={"username": name, "email": name + "@example.com", "password": "a long password"})
    expect(answer.status, 201)
    frank = w.final(answer.data["token"])
    expect(frank.hello(), name)
    frank.unregister(name)


@check("register-name-taken", "T", "final", "a username that is taken: This field must be unique")
def _(w):
    refused(w.final().register, w.alice.name, w.name() + "@example.com", "a long password", text="This field must be unique")


@check("register-email-taken", "T", "final", "an e-mail address that is taken: This field must be unique")
def _(w):
    refused(w.final().register, w.name("frank"), w.alice.email, "a long password", text="This field must be unique")


@check("register-public", "T", "final", "nobody can be called public: Username")
def _(w):
    refused(w.final().register, "public", w.name() + "@example.com", "a long password", text="Username")


@check("login", "T", "final", "login brings the same token as registration")
def _(w):
    expect(w.final().login(w.alice.name, w.alice.password), w.alice.token)
    expect(w.alice.final.login(w.alice.name, w.alice.password), w.alice.token)
    expect(w.alice.final.hello(), w.alice.name)


@check("login-wrong", "I", "final", "a wrong password is no 2xx")
def _(w):
    refused(w.final().login, w.bob.name, "wrong")


@check("unregister", "T", "final", "unregister closes the account: the token is dead, the name is free")
def _(w):
    eve = w.stranger()
    expect(eve.final.unregister(eve.name).status, 204)
    refused(eve.final.call, "GET", "pipes", status=401)
    again = w.final(w.final().register(eve.name, eve.email, eve.password))
    expect(again.hello(), eve.name)
    again.unregister(eve.name)


@check("unregister-other", "T", "final", "another's account: 403, can only unregister yourself")
def _(w):
    refused(w.bob.final.unregister, w.alice.name, text="can only unregister yourself", status=403)
    expect(w.alice.final.hello(), w.alice.name)


@check("unregister-no-token", "T", "final", "unregister without a token: 401, as the test suite's cleaner does all the time")
def _(w):
    refused(w.final().unregister, w.alice.name, status=401)
    refused(w.final().unregister, "nobody-" + w.mark, status=401)
    expect(w.alice.final.hello(), w.alice.name)


@check("unregister-pipes", "T", "final", "with an account its pipes go, and their names are free")
def _(w):
    eve = w.stranger()
    name = w.name()
    eve.final.upsert_pipe({"name": name})
    eve.final.upsert_pipe({"name": name + "-child", "parent": name, "options": {"dir": "child"}})
    eve.first.create_or_update("remotes", {"name": name, "protocol": "s3", "location": "b"})
    eve.final.unregister(eve.name)
    for path in ("pipes", "remotes"):
        refused(w.alice.final.call, "GET", path, name, status=404)
    refused(w.alice.final.call, "GET", "pipes", name + "-child", status=404)
    eve = w.stranger()
    expect(eve.final.upsert_pipe({"name": name}).status, 201)
    eve.final.unregister(eve.name)


@check("demo", "T", "final", "the account demo cannot register pipes", needs=["demo"])
def _(w):
    password = w.config.get("demo_password")
    if password:
        demo = w.final(w.final().login("demo", password))
    else:
        demo = w.final(w.final().register("demo", "demo-%s@example.com" % w.mark, "a long password"))
    try:
        refused(demo.upsert_pipe, {"name": w.name()}, text="cannot register pipes")
    finally:
        if not password:
            demo.unregister("demo")


# pipes


@check("list-empty", "T", "final", "the list of somebody who has nothing is a bare, empty array")
def _(w):
    eve = w.stranger()
    expect(eve.final.call("GET", "pipes").body.strip(), b"[]")
    expect(eve.final.list_pipes(), [])
    eve.final.unregister(eve.name)


@check("list", "T", "final", "the list is an array of whole pipes, not paged")
def _(w):
    names = sorted(w.s3() for _ in range(3))
    rows = w.alice.final.call("GET", "pipes").data
    holds(isinstance(rows, list), type(rows))
    mine = {r["name"]: r for r in rows if r["name"] in names}
    expect(sorted(mine), names)
    for row in mine.values():
        expect(row, w.alice.final.call("GET", "pipes", row["name"]).data)


@check("list-long", "C", "final", "a list of 150 pipes comes in one answer")
def _(w):
    eve = w.stranger()
    names = sorted("%s-%d" % (eve.name, i) for i in range(150))
    for name in names:
        eve.final.call("POST", "pipes", body={"name": name, "protocol": "s3", "location": "b"})
    expect([n for n in eve.final.list_pipes() if n in set(names)], names)
    eve.final.unregister(eve.name)


@check("create", "T", "final", "POST is a 201 with the pipe")
def _(w):
    name = w.name()
    answer = w.alice.final.call("POST", "pipes", body={"name": name, "protocol": "s3", "location": "b"})
    expect((answer.status, answer.data["name"]), (201, name))


@check("create-taken", "T", "final", "a name that is taken: unique")
def _(w):
    name = w.s3()
    refused(w.alice.final.call, "POST", "pipes", body={"name": name, "protocol": "s3", "location": "b"}, text="unique")


@check("create-taken-by-other", "I", "final", "a name that another has is taken too: pipes are found by their names alone")
def _(w):
    name = w.s3()
    refused(w.bob.final.call, "POST", "pipes", body={"name": name, "protocol": "s3", "location": "b"}, text="unique")


for i, bad in enumerate(("$invalid", "a_b", "a.b", "a/b", "", "\u00fc", "a b", "-\n")):
    def run(w, bad=bad):
        refused(w.alice.final.call, "POST", "pipes", body={"name": bad, "protocol": "s3", "location": "b"}, text="alphanumeric" if bad else None)
    check("create-bad-name-%d" % i, "T" if i == 0 else "I", "final", "the name %s is refused: alphanumeric" % ascii(bad))(run)

for i, bad in enumerate(("C:\\Drive", "a\\b", "..", "a/../b", "../x")):
    def run(w, bad=bad):
        body = {"name": w.name(), "protocol": "s3", "location": "b", "options": {"dir": bad}}
        refused(w.alice.final.call, "POST", "pipes", body=body, text="Paths")
        refused(w.alice.final.call, "GET", "pipes", body["name"], status=404)
        refused(w.alice.final.call, "PATCH", "pipes", w.s3(), body={"options": {"dir": bad}}, text="Paths")
    check("create-bad-dir-%d" % i, "T" if i == 0 else "I", "final", "the dir %s is refused: Paths" % ascii(bad))(run)


@check("create-no-parent", "T", "final", "a parent that is not there: does not exist")
def _(w):
    refused(w.alice.final.call, "POST", "pipes", body={"name": w.name(), "parent": w.name("no")}, text="does not exist")


@check("create-foreign-parent", "I", "final", "nobody makes a child of a pipe that he may not read")
def _(w):
    refused(w.bob.final.call, "POST", "pipes", body={"name": w.name(), "parent": w.s3()})


@check("get-unknown", "T", "final", "GET of what is not there: 404 Not found")
def _(w):
    refused(w.alice.final.call, "GET", "pipes", w.name("no"), text="Not found", status=404)


@check("get-foreign", "T", "final", "GET of what is there and not for me: 403")
def _(w):
    refused(w.bob.final.call, "GET", "pipes", w.s3(), text="403", status=403)


@check("patch", "T", "final", "PATCH with some settings and the name: 200")
def _(w):
    name = w.s3(schema={"a": 1})
    answer = w.alice.final.call("PATCH", "pipes", name, body={"name": name, "location": "elsewhere"})
    expect(answer.status, 200)
    got = w.alice.final.open(name)
    expect((got["location"], got["schema"]), ("elsewhere", {"a": 1}))


@check("patch-unknown", "C", "final", "PATCH of what is not there: 404 with the text Not found")
def _(w):
    refused(w.alice.final.call, "PATCH", "pipes", w.name("no"), body={"location": "x"}, text="Not found", status=404)


@check("patch-foreign", "T", "final", "PATCH of another's pipe: 403, without the text Not found")
def _(w):
    name = w.s3()
    refusal = refused(w.bob.final.call, "PATCH", "pipes", name, body={"location": "x"}, status=403)
    holds("Not found" not in str(refusal), refusal)
    expect(w.alice.final.open(name)["location"], "bucket-of-alice")


@check("put", "D", "final", "PUT replaces all settings")
def _(w):
    name = w.s3(schema={"a": 1}, options={"dir": "d"})
    w.alice.final.call("PUT", "pipes", name, body={"name": name, "protocol": "s3", "location": "new"})
    got = w.alice.final.open(name)
    expect((got["location"], got["options"]["remotepath"], got.get("schema") or {}), ("new", "s3://new/", {}))


@check("put-bad-request", "T", "final", "PUT of a broken body by somebody who may not write: 403, not 400")
def _(w):
    name = w.s3()
    refused(w.bob.final.call, "PUT", "pipes", name, body={"bad": "request"}, text="403", status=403)
    answer = w.bob.final.raw("PUT", "/v1/api/pipes/%s/" % name, b"{", {"Content-Type": "application/json"})
    expect(answer.status, 403)


@check("delete", "T", "final", "DELETE is a 204 without a body, then the pipe is gone")
def _(w):
    name = w.s3()
    answer = w.alice.final.call("DELETE", "pipes", name)
    expect((answer.status, answer.body), (204, b""))
    refused(w.alice.final.call, "GET", "pipes", name, text="Not found", status=404)
    holds(name not in w.alice.final.list_pipes(), "it is still in the list")


@check("delete-foreign", "I", "final", "DELETE of another's pipe: 403")
def _(w):
    name = w.s3()
    refused(w.bob.final.call, "DELETE", "pipes", name, status=403)
    w.alice.final.permit(name, username=w.bob.name, role="write")
    refused(w.bob.final.call, "DELETE", "pipes", name, status=403)


@check("upsert-new", "T", "final", "upsert of something new ends in POST's reply, 201")
def _(w):
    name = w.name()
    answer = w.alice.final.upsert_pipe({"name": name, "protocol": "s3", "location": "b"})
    expect((answer.status, answer.data["name"]), (201, name))
    holds(name in w.alice.final.list_pipes(), "it is not in the list")


@check("upsert-again", "T", "final", "upsert of something known ends in GET's reply")
def _(w):
    name = w.s3(options={"dir": "dir1"})
    answer = w.alice.final.upsert_pipe({"name": name, "protocol": "s3", "location": "bucket-of-alice", "options": {"dir": "dir2"}})
    expect((answer.status, answer.data["options"]["dir"]), (200, "dir2"))


@check("upsert-foreign", "C", "final", "upsert of another's pipe is refused and makes nothing")
def _(w):
    name = w.s3()
    refused(w.bob.final.upsert_pipe, {"name": name, "protocol": "s3", "location": "x"}, text="403")


# the pipe object


@check("object-name", "C", "final", "name is as it was given, in the pipe and in the list")
def _(w):
    name = "Mixed-Case-0" + w.name()
    w.s3(name=name)
    expect(w.alice.final.open(name)["name"], name)
    holds(name in w.alice.final.list_pipes(), "not in the list")


for protocol in ("s3", "ftp", "sftp"):
    def run(w, protocol=protocol):
        name = w.pipe(protocol=protocol, location="host.example.com", credentials={"username": "u", "password": "p"})
        child = w.pipe(parent=name, options={"dir": "d"})
        for pipe in (name, child):
            got = w.alice.final.open(pipe)
            expect((got["protocol"], got["location"]), (protocol, "host.example.com"), pipe)
    check("object-protocol-" + protocol, "C", "final", "protocol %s and its location are shown, and inherited by children" % protocol)(run)


@check("object-d6tfree", "T", "final", "d6tfree is shown as s3, to children too; it is the default without protocol and parent")
def _(w):
    for settings in ({}, {"protocol": "d6tfree"}):
        name = w.pipe(name=w.name("managed"), **settings)
        expect(w.alice.final.open(name)["protocol"], "s3")
        expect(w.alice.final.open(w.pipe(parent=name))["protocol"], "s3")


@check("object-options", "C", "final", "options is an object even if none were given, with remotepath, also in the list")
def _(w):
    name = w.s3()
    expect(w.alice.final.open(name)["options"]["remotepath"], "s3://bucket-of-alice/")
    row = [r for r in w.alice.final.call("GET", "pipes").data if r["name"] == name][0]
    expect(row["options"]["remotepath"], "s3://bucket-of-alice/")


@check("object-options-own", "T", "final", "options that were given come back")
def _(w):
    options = {"dir": "vendorX/", "include": "*.csv", "exclude": "x*", "mine": {"deep": [1, None, "\u00fc"]}}
    got = w.alice.final.open(w.s3(options=options))["options"]
    expect({k: got[k] for k in options}, options)


@check("object-options-false", "I", "final", "options that say no, or nothing, come back as well")
def _(w):
    options = {"encrypted": False, "include": "", "dir": ""}
    got = w.alice.final.open(w.s3(options=options))["options"]
    expect({k: got.get(k, "absent") for k in options}, options)


@check("object-options-null", "C", "final", "options that were given as null are still an object in the answer")
def _(w):
    name = w.name()
    w.alice.final.ask("POST", "pipes", body={"name": name, "protocol": "s3", "location": "b", "options": None})
    if name in w.alice.final.list_pipes():
        holds(isinstance(w.alice.final.open(name)["options"], dict), "null")


@check("object-dir-patched", "T", "final", "options.dir after PATCH is the new one, and so is the path")
def _(w):
    name = w.s3(options={"dir": "dir1"})
    w.alice.final.upsert_pipe({"name": name, "options": {"dir": "dir2"}})
    got = w.alice.final.open(name)["options"]
    expect((got["dir"], got["remotepath"]), ("dir2", "s3://bucket-of-alice/dir2/"))


@check("object-options-replaced", "T", "final", "PATCH replaces options whole: a dir that is not said again is gone")
def _(w):
    name = w.pipe(protocol="ftp", location="h", options={"dir": "utest"}, credentials={"username": "u", "password": "p"})
    w.alice.final.upsert_pipe({"name": name, "options": {"include": "root*.csv"}})
    got = w.alice.final.open(name)["options"]
    expect((got.get("dir"), got["include"], got["remotepath"]), (None, "root*.csv", "/"))


@check("object-patch-partial", "T", "final", "PATCH leaves fields alone that it does not name")
def _(w):
    name = w.s3(options={"dir": "d"}, schema={"a": 1}, credentials={"aws_access_key_id": "A", "aws_secret_access_key": "B"})
    w.alice.final.upsert_pipe({"name": name, "schema": {"b": 2}})
    got = w.alice.final.open(name)
    expect((got["location"], got["options"]["dir"], got["schema"]), ("bucket-of-alice", "d", {"b": 2}))
    expect(w.alice.final.credentials(name, "read")["aws_access_key_id"], "A")


@check("object-role", "T", "final", "role: write for the owner, read for readers, write for writers, not read for admins")
def _(w):
    name = w.s3()
    expect(w.alice.final.open(name)["role"], "write")
    for role, want in (("read", ("read",)), ("write", ("write",)), ("admin", ("write", "admin"))):
        w.alice.final.permit(name, username=w.bob.name, role=role)
        holds(w.bob.final.open(name)["role"] in want, role)
        row = [r for r in w.bob.final.call("GET", "pipes").data if r["name"] == name][0]
        holds(row["role"] in want, role + " in the list")


@check("object-schema", "T", "final", "a schema comes back exactly")
def _(w):
    schema = {"pandas": {"sep": ",", "index_col": 0}, "dask": {"usecols": [1, 2, 3, 4]}, "": None, "t": True, "n": [[], {}]}
    expect(w.alice.final.open(w.s3(schema=schema))["schema"], schema)


@check("object-schema-child", "T", "final", "a child has a schema of its own")
def _(w):
    parent = w.s3(schema={"a": 1})
    expect(w.alice.final.open(w.pipe(parent=parent, schema={"pandas": {"sep": ","}}))["schema"], {"pandas": {"sep": ","}})


@check("object-schema-none", "C", "final", "where no schema was given, or null, it is absent or an object")
def _(w):
    holds(isinstance(w.alice.final.open(w.s3()).get("schema", {}), dict), "not given")
    name = w.name()
    w.alice.final.ask("POST", "pipes", body={"name": name, "protocol": "s3", "location": "b", "schema": None})
    if name in w.alice.final.list_pipes():
        holds(isinstance(w.alice.final.open(name).get("schema", {}), dict), "null")


@check("object-parent", "C", "final", "parent: nothing for roots, the name for children; parents alone can be listed")
def _(w):
    root = w.s3()
    child = w.pipe(parent=root)
    holds(not w.alice.final.open(root).get("parent"), "a root has a parent")
    expect(w.alice.final.open(child)["parent"], root)
    names = w.alice.final.list_pipes(parent_only=True)
    expect((root in names, child in names), (True, False))


@check("object-ultimate", "T", "final", "parent-ultimate is the topmost ancestor")
def _(w):
    root = w.s3()
    child = w.pipe(parent=root)
    grandchild = w.pipe(parent=child)
    expect(w.alice.final.open(child)["parent-ultimate"], root)
    expect(w.alice.final.open(grandchild)["parent-ultimate"], root)


@check("object-absent", "T", "final", "credentials, isPubliclyReadable, isPubliclyWritable and cache are never shown")
def _(w):
    flat = {"aws_access_key_id": "A", "aws_secret_access_key": "SECRET-CANARY"}
    name = w.s3(credentials=flat)
    child = w.pipe(parent=name)
    answers = [w.alice.final.call("GET", "pipes", name), w.alice.final.call("GET", "pipes", child), w.alice.final.call("GET", "pipes"),
               w.alice.final.call("PATCH", "pipes", name, body={"schema": {}}),
               w.alice.final.call("POST", "pipes", body={"name": w.name(), "protocol": "s3", "location": "b", "credentials": flat})]
    for answer in answers:
        for row in answer.data if isinstance(answer.data, list) else [answer.data]:
            for key in ("isPubliclyReadable", "isPubliclyWritable", "credentials", "cache"):
                holds(key not in row, key + " is shown")
        holds(b"SECRET-CANARY" not in answer.body, "the secret is shown")


@check("object-patched-back", "I", "final", "what GET gives can be PATCHed back and changes nothing")
def _(w):
    root = w.s3(options={"dir": "a"}, schema={"s": 1}, credentials={"aws_access_key_id": "A", "aws_secret_access_key": "B"})
    for name in (root, w.pipe(parent=root, options={"dir": "b"}), w.pipe(name=w.name("managed"))):
        before = w.alice.final.call("GET", "pipes", name).data
        keys = w.alice.final.credentials(name, "read")
        w.alice.final.call("PATCH", "pipes", name, body=before)
        expect(w.alice.final.call("GET", "pipes", name).data, before)
        expect(bool(w.alice.final.credentials(name, "read")), bool(keys))


# section 4, the path on the remote


def path(id, mark, what, make, want):
    def run(w):
        got = w.alice.final.open(make(w))["options"]["remotepath"]
        expect(got, want(w) if callable(want) else want)
    check("path-" + id, mark, "final", what)(run)


def sftp(w, **settings):
    return w.pipe(protocol="sftp", location="h", credentials={"username": "u", "password": "p"}, **settings)


def ftp(w, **settings):
    return w.pipe(protocol="ftp", location="h", credentials={"username": "u", "password": "p"}, **settings)


path("s3", "T", "s3 without a dir: s3://L/", lambda w: w.s3(), "s3://bucket-of-alice/")
path("s3-dir", "T", "s3 with dir vendorX/: s3://L/vendorX/", lambda w: w.s3(options={"dir": "vendorX/"}), "s3://bucket-of-alice/vendorX/")
path("s3-dir-bare", "T", "s3 with dir vendorX", lambda w: w.s3(options={"dir": "vendorX"}), "s3://bucket-of-alice/vendorX/")
path("s3-dir-slashes", "T", "slashes around a dir are trimmed", lambda w: w.s3(options={"dir": "/vendorX/deep/"}), "s3://bucket-of-alice/vendorX/deep/")
path("s3-location-deep", "I", "a location with a folder", lambda w: w.pipe(protocol="s3", location="bucket/folder"), "s3://bucket/folder/")
path("s3-child", "T", "dir vendorX/ on a child of L", lambda w: w.pipe(parent=w.s3(), options={"dir": "vendorX/", "include": "*.csv"}), "s3://bucket-of-alice/vendorX/")
path("child-filter", "D", "a child without a dir has its parent's path", lambda w: w.pipe(parent=w.s3(options={"dir": "a"}), options={"include": "*.csv"}), "s3://bucket-of-alice/a/")
path("grandchild", "I", "dirs add up", lambda w: w.pipe(parent=w.pipe(parent=w.s3(), options={"dir": "a"}), options={"dir": "b/"}), "s3://bucket-of-alice/a/b/")
path("sftp", "T", "sftp without a dir: /", lambda w: sftp(w), "/")
path("ftp", "T", "ftp without a dir: /", lambda w: ftp(w), "/")
path("sftp-child", "T", "sftp, a child's dir /home/x/vendorX", lambda w: w.pipe(parent=sftp(w), options={"dir": "/home/x/vendorX"}), "/home/x/vendorX/")
path("ftp-dir", "T", "ftp, dir utest: /utest/", lambda w: ftp(w, options={"dir": "utest"}), "/utest/")


@check("path-d6tfree", "T", "final", "managed: s3://bucket/.../ with the names of owner and pipe; a child adds its dir")
def _(w):
    name = w.pipe(name=w.name("managed"))
    path = w.alice.final.open(name)["options"]["remotepath"]
    holds(path.startswith("s3://") and path.endswith("/%s/%s/" % (w.alice.name, name)), path)
    child = w.pipe(parent=name, options={"dir": "child"})
    expect(w.alice.final.open(child)["options"]["remotepath"], path + "child/")


# section 6, credentials


FLAT = {"aws_access_key_id": "FLAT", "aws_secret_access_key": "s", "endpoint_url": "http://127.0.0.1:1", "region_name": "us-east-1"}
SPLIT = {"read": {"aws_access_key_id": "R", "aws_secret_access_key": "r"}, "write": {"aws_access_key_id": "W", "aws_secret_access_key": "w"}}


@check("credentials-flat", "C", "final", "flat credentials serve both roles, as they were given")
def _(w):
    name = w.s3(credentials=FLAT)
    for write in (False, True):
        expect(w.alice.final.access(w.alice.final.open(name), write), FLAT)


@check("credentials-split", "C", "final", "read and write credentials are handed out by role")
def _(w):
    name = w.s3(credentials=SPLIT)
    for role in ("read", "write"):
        expect(w.alice.final.credentials(name, role), SPLIT[role])


@check("credentials-child", "C", "final", "children have the credentials of their root")
def _(w):
    child = w.pipe(parent=w.pipe(parent=w.s3(credentials=SPLIT)), options={"dir": "d"})
    for role in ("read", "write"):
        expect(w.alice.final.credentials(child, role), SPLIT[role])


@check("credentials-none", "C", "final", "no credentials: 200 and an empty object, so that the client can say so itself")
def _(w):
    name = w.s3()
    expect(w.alice.final.call("GET", "pipes", name, "credentials", query={"role": "read"}).data, {})
    try:
        w.alice.final.access(w.alice.final.open(name))
    except ValueError:
        return
    raise AssertionError("the client found some")


@check("credentials-key-secret", "I", "final", "key and secret are renamed to what boto3 wants")
def _(w):
    got = w.alice.final.credentials(w.s3(credentials={"key": "K", "secret": "S"}), "read")
    expect(got, {"aws_access_key_id": "K", "aws_secret_access_key": "S"})


for protocol in ("ftp", "sftp"):
    def run(w, protocol=protocol):
        name = w.pipe(protocol=protocol, location="h", credentials={"read": {"username": "u", "password": "p"}, "write": {"username": "v", "password": "q"}})
        got = w.alice.final.access(w.alice.final.open(name))
        expect((got["username"], got["password"]), ("u", "p"))
        got = w.alice.final.access(w.alice.final.open(name), write=True)
        expect((got["username"], got["password"]), ("v", "q"))
    check("credentials-" + protocol, "C", "final", protocol + ": username and password of the role")(run)


@check("credentials-foreign", "T", "final", "credentials of a pipe that is not for me: 403")
def _(w):
    refused(w.bob.final.credentials, w.s3(credentials=FLAT), "read", text="403", status=403)


@check("credentials-reader", "T", "final", "a reader gets read credentials; write ones are a 403")
def _(w):
    name = w.s3(credentials=SPLIT)
    w.alice.final.permit(name, username=w.bob.name, role="read")
    expect(w.bob.final.credentials(name, "read"), SPLIT["read"])
    refused(w.bob.final.credentials, name, "write", text="403", status=403)


@check("credentials-reader-client", "C", "final", "the client itself refuses to write where role is read")
def _(w):
    name = w.s3(credentials=SPLIT)
    w.alice.final.permit(name, username=w.bob.name, role="read")
    try:
        w.bob.final.access(w.bob.final.open(name), write=True)
    except ValueError as refusal:
        holds("Read-only" in str(refusal), refusal)
        return
    raise AssertionError("it would have written")


ALLOWED = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "endpoint_url", "region_name", "use_ssl", "verify"}


@check("credentials-managed", "T", "final", "managed: read and write keys differ, both sets have aws_session_token")
def _(w):
    name = w.pipe(name=w.name("managed"))
    read, write = w.alice.final.credentials(name, "read"), w.alice.final.credentials(name, "write")
    holds("aws_session_token" in read and "aws_session_token" in write, "no aws_session_token")
    holds(read["aws_access_key_id"] != write["aws_access_key_id"], "the same key")


@check("credentials-keywords", "C", "final", "managed: no key that boto3 would not take as a keyword; flat, strings and booleans")
def _(w):
    name = w.pipe(name=w.name("managed"))
    for role in ("read", "write"):
        got = w.alice.final.credentials(name, role)
        holds(set(got) <= ALLOWED, set(got) - ALLOWED)
        holds(all(isinstance(v, (str, bool, type(None))) for v in got.values()), got.keys())


@check("credentials-renew", "T", "final", "managed: after a renewal the next GET has another key")
def _(w):
    name = w.pipe(name=w.name("managed"))
    before = w.alice.final.credentials(name, "read")["aws_access_key_id"]
    w.alice.final.renew(name)
    holds(w.alice.final.credentials(name, "read")["aws_access_key_id"] != before, "the same key")


@check("credentials-managed-child", "I", "final", "managed: children have keys too")
def _(w):
    child = w.pipe(parent=w.pipe(name=w.name("managed")), options={"dir": "child"})
    holds("aws_session_token" in w.alice.final.credentials(child, "read"), "no aws_session_token")


# section 5, what is beside the table


@check("permissions-post", "T", "final", "a grant is a 2xx with JSON or nothing")
def _(w):
    w.alice.final.permit(w.s3(), username=w.bob.name, role="read")


@check("permissions-not-admin", "I", "final", "who is no admin cannot grant: 403")
def _(w):
    name = w.s3()
    refused(w.bob.final.permit, name, username=w.carol.name, role="read", status=403)
    w.alice.final.permit(name, username=w.bob.name, role="write")
    refused(w.bob.final.permit, name, username=w.carol.name, role="read", status=403)
    refused(w.carol.final.open, name, status=403)


@check("permissions-get", "D", "final", "the owner can list the grants, others cannot")
def _(w):
    name = w.s3()
    w.alice.final.permit(name, username=w.bob.name, role="read")
    rows = w.alice.final.call("GET", "pipes", name, "permissions").data
    holds(any(r.get("username") == w.bob.name and r.get("role") == "read" for r in rows), rows)
    refused(w.bob.final.call, "GET", "pipes", name, "permissions", status=403)


@check("permissions-admin", "D", "final", "an admin changes settings and grants")
def _(w):
    name = w.s3()
    w.alice.final.permit(name, username=w.bob.name, role="admin")
    w.bob.final.call("PATCH", "pipes", name, body={"schema": {"by": "bob"}})
    w.bob.final.permit(name, username=w.carol.name, role="read")
    expect(w.carol.final.open(name)["schema"], {"by": "bob"})


@check("permissions-email-revoke", "T", "final", "granted by e-mail, revoked by username, and the other way round")
def _(w):
    name = w.s3()
    for by, off in (({"email": w.bob.email}, {"username": w.bob.name}), ({"username": w.bob.name}, {"email": w.bob.email})):
        w.alice.final.permit(name, role="write", **by)
        expect(w.bob.final.open(name)["role"], "write")
        w.alice.final.permit(name, role="revoke", **off)
        refused(w.bob.final.open, name, status=403)


@check("permissions-replace", "T", "final", "a grant replaces the former one, its expiry included")
def _(w):
    name = w.s3()
    gone = (datetime.datetime.now() - datetime.timedelta(days=2)).date().isoformat()
    w.alice.final.permit(name, email=w.bob.email, role="write", expiration_date=gone)
    refused(w.bob.final.open, name, status=403)
    w.alice.final.permit(name, email=w.bob.email, role="write")
    expect(w.bob.final.open(name)["role"], "write")
    w.alice.final.permit(name, username=w.bob.name, role="read")
    expect(w.bob.final.open(name)["role"], "read")


@check("permissions-future", "D", "final", "a grant until the day after tomorrow works today")
def _(w):
    name = w.s3()
    day = (datetime.datetime.now() + datetime.timedelta(days=2)).date().isoformat()
    w.alice.final.permit(name, username=w.bob.name, role="read", expiration_date=day)
    expect(w.bob.final.open(name)["role"], "read")


@check("permissions-today", "I", "final", "the last day is inclusive (UTC)")
def _(w):
    name = w.s3()
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    w.alice.final.permit(name, username=w.bob.name, role="read", expiration_date=day)
    expect(w.bob.final.open(name)["role"], "read")


@check("permissions-unknown", "I", "final", "a username that nobody has: 400, does not exist")
def _(w):
    refused(w.alice.final.permit, w.s3(), username=w.name("nobody"), role="read", text="does not exist", status=400)


@check("permissions-revoke-nothing", "I", "final", "to revoke what was not granted is a 2xx")
def _(w):
    w.alice.final.permit(w.s3(), username=w.bob.name, role="revoke")


@check("permissions-one-grantee", "I", "final", "a grant names exactly one grantee, and a role that there is")
def _(w):
    name = w.s3()
    for grant in ({"role": "read"}, {"username": w.bob.name, "email": w.bob.email, "role": "read"},
                  {"username": w.bob.name, "role": "king"}, {"username": w.bob.name},
                  {"username": w.bob.name, "role": "read", "expiration_date": "tomorrow"}):
        refused(w.alice.final.permit, name, status=400, **grant)
    refused(w.bob.final.open, name, status=403)


@check("permissions-invitation", "D", "final", "a grant to an e-mail address that nobody has takes effect when somebody registers with it")
def _(w):
    name = w.s3()
    guest = w.name("guest")
    w.alice.final.permit(name, email=guest + "@example.com", role="read")
    client = w.final(w.final().register(guest, guest + "@example.com", "a long password"))
    expect(client.open(name)["role"], "read")
    holds(name in client.list_pipes(), "it is not in the list")
    client.unregister(guest)


@check("permissions-public-anybody", "D", "final", "a public pipe can be read without a token")
def _(w):
    name = w.s3(credentials=FLAT)
    w.alice.final.permit(name, username="public", role="read")
    try:
        expect(w.final().open(name)["name"], name)
        holds(name in w.final().list_pipes(), "it is not in the list")
        expect(w.final().credentials(name, "read"), FLAT)
        refused(w.final().credentials, name, "write")
    finally:
        w.alice.final.permit(name, username="public", role="revoke")
    refused(w.final().open, name)


@check("permissions-user-key", "I", "final", "pipes take the first generation's key user as well")
def _(w):
    name = w.s3()
    w.alice.final.permit(name, user=w.bob.name, role="read")
    expect(w.bob.final.open(name)["role"], "read")
    w.alice.final.permit(name, user=w.bob.name, role="revoke")
    refused(w.bob.final.open, name, status=403)


@check("permissions-deleted", "I", "final", "a pipe that comes again under an old name has no old grants")
def _(w):
    name = w.s3()
    w.alice.final.permit(name, username=w.bob.name, role="read")
    w.alice.final.call("DELETE", "pipes", name)
    w.s3(name=name)
    refused(w.bob.final.open, name, status=403)
