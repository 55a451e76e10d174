"""Section 1 of the contract, and section 9's traps: what holds on every route."""
import http.client
import json
import re

from world import check, expect, holds, refused


@check("transport-slash", "C", "any", "URLs that end in a slash are answered at once, without a redirect")
def _(w):
    name = w.s3()
    for path in (["pipes"], ["pipes", name], ["remotes"], []):
        answer = w.alice.final.call("GET", *path)
        expect(answer.status, 200, "/".join(path))
        holds(answer.url.endswith("/"), "redirected to " + answer.url)


FORMS = {"double": "//v1/api/pipes/%s/", "bare": "/v1/api/pipes/%s", "both": "//v1/api/pipes/%s", "inner": "/v1//api//pipes//%s//"}

for form, path in FORMS.items():
    for method, body, want in (("GET", None, 200), ("PATCH", b'{"schema": {"a": 1}}', 200), ("PUT", None, 200), ("DELETE", None, 204)):
        def run(w, method=method, path=path, body=body, want=want):
            name = w.s3()
            if method == "PUT":
                body = json.dumps({"name": name, "protocol": "s3", "location": "bucket"}).encode()
            answer = w.alice.final.raw(method, path % name, body, {"Content-Type": "application/json"} if body else {})
            expect(answer.status, want)
        check("slashes-%s-%s" % (form, method.lower()), "C", "any", "%s on %s is no redirect" % (method, path % "NAME"))(run)

for form, path in {"double": "//v1/api/pipes/", "bare": "/v1/api/pipes", "both": "//v1/api/pipes"}.items():
    def run(w, path=path):
        body = json.dumps({"name": w.name(), "protocol": "s3", "location": "bucket"}).encode()
        answer = w.alice.final.raw("POST", path, body, {"Content-Type": "application/json"})
        expect(answer.status, 201)
    check("slashes-%s-post" % form, "C", "any", "POST on %s is no redirect" % path)(run)


@check("slashes-config", "C", "any", "a server that is configured with a trailing slash works for all of the client's calls")
def _(w):
    alice = type(w.alice.final)(w.url + "/", w.alice.token, w.log)
    name = w.name()
    expect(alice.hello(), w.alice.name)
    expect(alice.upsert_pipe({"name": name, "protocol": "s3", "location": "bucket"}).status, 201)
    expect(alice.upsert_pipe({"name": name, "protocol": "s3", "location": "bucket2"}).data["location"], "bucket2")
    alice.call("DELETE", "pipes", name)


@check("query", "C", "any", "the query comes after the slash, keys sorted, Python's True")
def _(w):
    name = w.pipe(name=w.name("managed"))
    w.alice.final.renew(name)
    holds(w.log[-1][1].endswith("/pipes/%s/credentials/?renew=True&role=read" % name), w.log[-1][1])


@check("raw-dollar", "C", "any", "a name like $x goes out as it is: PATCH says Not found, POST says alphanumeric")
def _(w):
    refused(w.alice.final.call, "PATCH", "pipes", "$x", body={"name": "$x"}, text="Not found", status=404)
    refused(w.alice.final.upsert_pipe, {"name": "$x"}, text="alphanumeric")


@check("two-segments", "C", "any", "a name like a/b makes an unknown route: PATCH says Not found, POST says alphanumeric")
def _(w):
    refused(w.alice.final.call, "PATCH", "pipes", "a/b", body={"name": "a/b"}, text="Not found", status=404)
    refused(w.alice.final.upsert_pipe, {"name": "a/b"}, text="alphanumeric")


@check("space", "C", "any", "a name with a space never leaves the client")
def _(w):
    try:
        w.alice.final.call("GET", "pipes", "a b")
    except http.client.InvalidURL:
        return
    raise AssertionError("it was sent")


for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
    for path in (("nothing",), ("pipes", "a", "b", "c"), ("remotes", "a", "credentials"), ("accounts", "a", "b")):
        def run(w, method=method, path=path):
            refused(w.alice.final.call, method, *path, body={"name": "x"}, text="Not found", status=404)
        check("unknown-%s-%s" % (method.lower(), "-".join(path)), "C", "any", "%s on the unknown %s/ says Not found" % (method, "/".join(path)))(run)


@check("no-token", "C", "any", "without a token there is no Authorization header, and whoever needs one is refused")
def _(w):
    name = w.s3()
    nobody = w.final()
    for method, path in (("POST", ["pipes"]), ("PATCH", ["pipes", name]), ("PUT", ["pipes", name]), ("DELETE", ["pipes", name]),
                         ("POST", ["pipes", name, "permissions"]), ("DELETE", ["accounts", w.alice.name])):
        answer = nobody.ask(method, *path, body={"name": w.name(), "protocol": "s3", "location": "b"})
        holds(answer.status in (401, 403), "%s %s: %d" % (method, "/".join(path), answer.status))
    expect(w.alice.final.open(name)["name"], name)


@check("bad-token", "C", "any", "a token that nobody has is refused on every route but register and login")
def _(w):
    bad = w.final("0" * 40)
    for method, path in (("GET", []), ("GET", ["pipes"]), ("GET", ["remotes"]), ("POST", ["pipes"]), ("DELETE", ["accounts", w.alice.name])):
        holds(bad.ask(method, *path).status // 100 != 2, "%s %s was carried out" % (method, "/".join(path)))


@check("identity", "C", "any", "answers are not compressed: the client asks for identity and does not unpack")
def _(w):
    w.s3(schema={"text": "x" * 20000})
    answer = w.alice.final.call("GET", "pipes")
    expect(answer.headers.get("Content-Encoding", "identity"), "identity")
    holds(len(answer.body) > 20000, "the body is short")


@check("no-accept", "C", "any", "without an Accept header the answer is JSON")
def _(w):
    answer = w.alice.final.call("GET", "pipes")
    holds("json" in answer.headers["Content-Type"], answer.headers["Content-Type"])


@check("accept-html", "I", "any", "a browser's Accept header changes nothing")
def _(w):
    answer = w.alice.final.raw("GET", "/v1/api/pipes/", headers={"Accept": "text/html"})
    holds(isinstance(answer.data, list), answer.body)


@check("ascii-body", "C", "any", "text that the client escapes to ASCII comes back as it was")
def _(w):
    schema = {"\u00fc": "\u65e5\u672c \U0001f600 \" \\ \u2028 ' < > &"}
    name = w.s3(schema=schema)
    expect(w.alice.final.open(name)["schema"], schema)


@check("get-body", "C", "first", "create_or_update ends in a GET with a JSON body, which is not looked at")
def _(w):
    name = w.remote()
    settings = {"name": name, "protocol": "s3", "location": "another"}
    answer = w.alice.first.create_or_update("remotes", settings)
    expect((answer.status, answer.data["location"]), (200, "another"))
    answer = w.alice.first.call("GET", "remotes", name, body={"location": "not written"})
    expect(answer.data["location"], "another")


@check("get-body-list", "C", "any", "a GET of a list with a body is a GET of the list")
def _(w):
    holds(isinstance(w.alice.first.call("GET", "pipes", body={"bad": [1]}).data, list), "no list")


@check("empty-patch-pipe", "C", "final", "update_settings is a PATCH without a body: 2xx, and nothing changes")
def _(w):
    name = w.s3(schema={"a": 1}, options={"dir": "d", "include": "*.csv"})
    before = w.alice.final.open(name)
    w.alice.final.update_settings(name, {"schema": {"b": 2}})
    expect(w.alice.final.open(name), before)


@check("empty-patch-first", "C", "first", "update_pipe_settings and update_remote_settings are PATCHes without a body: 2xx, nothing changes")
def _(w):
    remote = w.remote()
    pipe = w.on(remote, settings={"remotedir": "d"})
    before = [w.alice.first.call("GET", "remotes", remote).data, w.alice.first.call("GET", "pipes", pipe).data]
    w.alice.first.update_settings("remotes", remote, {"location": "x"})
    w.alice.first.update_settings("pipes", pipe, {"settings": {}})
    expect([w.alice.first.call("GET", "remotes", remote).data, w.alice.first.call("GET", "pipes", pipe).data], before)


@check("empty-success", "C", "any", "an empty 2xx is read as None")
def _(w):
    answer = w.alice.final.call("DELETE", "pipes", w.s3())
    expect((answer.body, answer.data), (b"", None))


@check("bom", "C", "any", "answers are UTF-8 without a mark at their start, whatever their Content-Type says")
def _(w):
    for path in ([], ["pipes"], ["remotes"]):
        body = w.alice.final.call("GET", *path).body
        body.decode("utf-8")
        holds(not body.startswith(b"\xef\xbb\xbf"), "a byte order mark")


@check("stale-register", "C", "any", "the client sends its stale token along when it registers: it is ignored")
def _(w):
    eve = w.stranger()
    eve.final.unregister(eve.name)
    holds(eve.final.register(eve.name, eve.email, eve.password), "no token")
    token = w.final().login(eve.name, eve.password)
    w.final(token).unregister(eve.name)


@check("stale-login", "C", "any", "the client sends its stale token along when it logs in: it is ignored")
def _(w):
    stale = w.final("0" * 40)
    expect(stale.login(w.alice.name, w.alice.password), w.alice.token)


@check("other-login", "I", "any", "another's token does not matter when one logs in")
def _(w):
    expect(w.bob.final.login(w.alice.name, w.alice.password), w.alice.token)


@check("large-integers", "C", "any", "numbers in a schema come back to the digit")
def _(w):
    schema = {"n": 12345678901234567890123, "m": 9007199254740993, "f": 0.1, "e": 1e300, "z": -0.0, "one": 1.0}
    name = w.s3(schema=schema)
    got = w.alice.final.open(name)["schema"]
    expect(got, schema)
    expect({k: type(v) for k, v in got.items()}, {k: type(v) for k, v in schema.items()}, "types")


@check("broken-body", "I", "any", "a body that is no JSON is a 400, and nothing happens")
def _(w):
    for body in (b"{", b'"text"', b"[]", b"null", b"\xff"):
        answer = w.alice.final.raw("POST", "/v1/api/pipes/", body, {"Content-Type": "application/json"})
        expect(answer.status, 400, repr(body))


def last_check_texts(w):
    """Runs when all the others have: it looks at every refusal that they saw."""
    seen = [(m, u, a) for m, u, a in w.log if a.status // 100 not in (1, 2)]
    holds(len(seen) > 20, "too few refusals to judge by")
    for method, url, answer in seen:
        shown = repr(answer.body)
        holds(re.fullmatch(rb"[ -~]*", answer.body), "%s %s: not plain ASCII: %s" % (method, url, shown))
        holds("\\" not in shown and shown.startswith("b'"), "%s %s: the repr escapes something: %s" % (method, url, shown))
        holds(answer.status // 100 != 3, "%s %s redirects" % (method, url))
        holds(answer.status < 500, "%s %s: %d" % (method, url, answer.status))


def last_check_redirects(w):
    for method, url, answer in w.log:
        expect(answer.url, url, method)


def last_check_bodies(w):
    for method, url, answer in w.log:
        if answer.body and method != "HEAD":
            try:
                json.loads(answer.body.decode("utf-8"))
            except ValueError:
                raise AssertionError("%s %s: no JSON: %r" % (method, url, answer.body))


def last_check_nulls(w):
    names = ("settings", "readParams", "readCredentials", "writeCredentials", "options", "schema")
    for method, url, answer in w.log:
        if answer.status // 100 == 2 and re.search(r"/api/(pipes|remotes)(/[^/]+)?/$", url) and answer.body:
            for row in answer.data if isinstance(answer.data, list) else [answer.data]:
                holds(not [n for n in names if row.get(n, "") is None], "%s %s: %s" % (method, url, row))


def enter_last():
    """Enters the checks that look at all that was said; call it when the table
    has everything else."""
    check("texts", "C", "any", "refusals are plain ASCII without quotes, so that their repr shows them as they are; none is a 5xx")(last_check_texts)
    check("no-nulls", "C", "any", "no record of the whole run had a null where the clients want an object or nothing")(last_check_nulls)
    check("no-redirects", "C", "any", "no answer of the whole run was redirected")(last_check_redirects)
    check("all-json", "C", "any", "every body of the whole run is JSON")(last_check_bodies)
