"""Records the bytes of requests. "recorded.py ours GENERATION" has speaker.py
speak, "recorded.py client GENERATION" the d6tpipe that is installed; what they
send to a listener, which answers by heart, is printed as JSON."""
import contextlib
import io
import json
import os
import re
import socket
import sys
import threading
import warnings

ALICE = {"username": "alice", "email": "alice@example.com", "password": "p\u00e4ss \"word\""}
PIPE = {"name": "sales", "protocol": "s3", "location": "bucket", "options": {"dir": "d\u00fc/", "include": "*.csv"}, "schema": {"n": [1, 2.5, None, True]}}
REMOTE = {"name": "depot", "protocol": "s3", "location": "bucket", "readCredentials": {"aws_access_key_id": "A", "aws_secret_access_key": None}}
OLD = {"name": "sales", "remote": "depot", "settings": {"remotedir": "vendorX/", "include": "*.csv"}}
SHOWN = {"name": "sales", "protocol": "s3", "location": "bucket", "role": "write", "options": {"remotepath": "s3://bucket/"}, "schema": {}}
NOT_FOUND = (404, {"detail": "Not found."})
TAKEN = (400, {"username": ["This field must be unique."]})
ME = (200, {"username": "alice", "message": "hello"})

# Steps: what is done, and the answers to the requests that it takes.
STEPS = {
    "final": [
        ("register", [(201, {"token": "secret-1"}), ME]),
        ("register-taken", [TAKEN]),
        ("login", [(200, {"token": "secret-2"}), ME]),
        ("connect", [ME]),
        ("list", [(200, [])]),
        ("upsert-new", [NOT_FOUND, (201, SHOWN)]),
        ("upsert-known", [(200, SHOWN), (200, SHOWN)]),
        ("upsert-odd", [NOT_FOUND, (400, {"name": ["Only alphanumeric characters and hyphens are allowed."]})]),
        ("permit", [(201, {})]),
        ("open", [(200, SHOWN)]),
        ("credentials", [(200, {"aws_access_key_id": "A"})]),
        ("credentials-write", [(200, {"aws_access_key_id": "A"})]),
        ("renew", [(200, {})]),
        ("update-settings", [(200, SHOWN)]),
        ("put", [(403, {"detail": "You do not have permission to perform this action."})]),
        ("delete", [(204, None)]),
        ("unregister", [(204, None)]),
        ("unregister-without-token", [(401, {"detail": "no"})]),
    ],
    "first": [
        ("register", [(201, {"token": "secret-1"}), ME]),
        ("create-or-update-new", [NOT_FOUND, (201, REMOTE)]),
        ("create-or-update-known", [(200, REMOTE), (200, REMOTE)]),
        ("create-both", [NOT_FOUND, (201, REMOTE), NOT_FOUND, (201, OLD)]),
        ("permit", [(201, {})]),
        ("open", [(200, OLD), (200, REMOTE)]),
        ("update-pipe", [(200, OLD)]),
        ("update-remote", [(200, REMOTE)]),
        ("unregister", [(204, None)]),
    ],
}
STEPS["mid"] = STEPS["first"]


class Listener:
    """Answers each connection with the next answer and keeps what came."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.answers, self.heard = [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            with connection:
                connection.settimeout(10)
                self.heard.append(self.whole(connection))
                status, body = self.answers.pop(0) if self.answers else (500, {"detail": "nobody asked for this"})
                data = b"" if body is None else json.dumps(body).encode()
                connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(data)) + data)

    @staticmethod
    def whole(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, body = data.split(b"\r\n\r\n", 1)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        while length and len(body) < int(length.group(1)):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


def plain(request):
    """The request as text, without what differs from machine to machine."""
    text = request.decode("latin-1")
    text = re.sub(r"\r\nHost: 127\.0\.0\.1:\d+", "\r\nHost: HOST", text)
    return re.sub(r"Python-urllib/3\.\d+", "Python-urllib/3.x", text)


# our speaker


def unless_unique(call):
    """The client's register turns this refusal into a warning."""
    try:
        call()
    except Exception as e:
        if "This field must be unique" not in str(e):
            raise


def ours_final(url):
    from speaker import Final
    state = {"c": Final(url)}

    def renewed(token):
        state["c"] = Final(url, token)
        state["c"].hello()

    c = lambda: state["c"]
    return {
        "register": lambda: renewed(c().register(**ALICE)),
        "register-taken": lambda: unless_unique(lambda: c().register(**ALICE)),
        "login": lambda: renewed(c().login("alice", ALICE["password"])),
        "connect": lambda: c().hello(),
        "list": lambda: c().list_pipes(),
        "upsert-new": lambda: c().upsert_pipe(PIPE),
        "upsert-known": lambda: c().upsert_pipe(PIPE),
        "upsert-odd": lambda: c().upsert_pipe({"name": "$x/y"}),
        "permit": lambda: c().permit("sales", username="bob", role="read"),
        "open": lambda: state.update(pipe=c().open("sales")),
        "credentials": lambda: c().access(state["pipe"]),
        "credentials-write": lambda: c().access(state["pipe"], write=True),
        "renew": lambda: c().renew("sales"),
        "update-settings": lambda: c().update_settings("sales", {"schema": {"a": 1}}),
        "put": lambda: c().call("PUT", "pipes", "sales", body={"bad": "request"}),
        "delete": lambda: c().call("DELETE", "pipes", "sales"),
        "unregister": lambda: c().unregister("alice"),
        "unregister-without-token": lambda: Final(url).unregister("alice"),
    }


def ours_first(url):
    from speaker import First
    state = {"c": First(url)}

    def renewed(token):
        state["c"] = First(url, token)
        state["c"].hello()

    c = lambda: state["c"]
    return {
        "register": lambda: renewed(c().register(**ALICE)),
        "create-or-update-new": lambda: c().create_or_update("remotes", REMOTE),
        "create-or-update-known": lambda: c().create_or_update("remotes", REMOTE),
        "create-both": lambda: c().create_pipe_with_remote(REMOTE, OLD),
        "permit": lambda: c().permit("depot", user="bob", role="read"),
        "open": lambda: c().open("sales"),
        "update-pipe": lambda: c().update_settings("pipes", "sales", {"settings": {}}),
        "update-remote": lambda: c().update_settings("remotes", "depot", {"location": "x"}),
        "unregister": lambda: c().unregister("alice"),
    }


def ours_mid(url):
    """Between the two the GET of create_or_update lost its body."""
    calls = ours_first(url)
    from speaker import First
    c = First(url, "secret-1")
    calls["create-or-update-known"] = lambda: c.upsert("remotes", REMOTE)
    return calls


# the client itself


def connect(url, profile="default"):
    import d6tpipe
    import d6tpipe.api
    folder = os.path.join(os.path.expanduser("~"), "d6t-" + profile)
    file = os.path.join(folder, "cfg.json")
    if not os.path.exists(file):
        d6tpipe.api.ConfigManager(profile=profile, filecfg=file).init({"server": url, "filerepo": folder})
    return lambda: d6tpipe.api.APIClient(profile=profile, filecfg=file)


def client_final(url):
    import d6tpipe
    opened, stranger = connect(url), connect(url, "stranger")
    state = {"c": opened()}
    c = lambda: state["c"]
    pipes = lambda: c().cnxn.pipes._("sales")
    return {
        "register": lambda: c().register(**ALICE),
        "register-taken": lambda: c().register(**ALICE),
        "login": lambda: c().login("alice", ALICE["password"]),
        "connect": lambda: state.update(c=opened()),
        "list": lambda: c().list_pipes(),
        "upsert-new": lambda: d6tpipe.upsert_pipe(c(), PIPE),
        "upsert-known": lambda: d6tpipe.upsert_pipe(c(), PIPE),
        "upsert-odd": lambda: d6tpipe.upsert_pipe(c(), {"name": "$x/y"}),
        "permit": lambda: d6tpipe.upsert_permissions(c(), "sales", {"username": "bob", "role": "read"}),
        "open": lambda: state.update(pipe=d6tpipe.Pipe(c(), "sales")),
        "credentials": lambda: state["pipe"]._get_credentials(),
        "credentials-write": lambda: state["pipe"]._get_credentials(write=True),
        "renew": lambda: state["pipe"]._reset_credentials(),
        "update-settings": lambda: state["pipe"].update_settings({"schema": {"a": 1}}),
        "put": lambda: pipes().put(request_body={"bad": "request"}),
        "delete": lambda: pipes().delete(),
        "unregister": lambda: c()._unregister("alice"),
        "unregister-without-token": lambda: stranger()._unregister("alice"),
    }


def client_first(url):
    import d6tpipe
    import d6tpipe.api
    state = {"c": connect(url)()}
    c = lambda: state["c"]
    return {
        "register": lambda: c().register(**ALICE),
        "create-or-update-new": lambda: d6tpipe.api.create_or_update(c().cnxn.remotes, REMOTE),
        "create-or-update-known": lambda: d6tpipe.api.create_or_update(c().cnxn.remotes, REMOTE),
        "create-both": lambda: d6tpipe.api.create_pipe_with_remote(c(), REMOTE, dict(OLD)),
        "permit": lambda: d6tpipe.api.create_or_update_permissions(c(), "depot", {"user": "bob", "role": "read"}),
        "open": lambda: state.update(pipe=d6tpipe.Pipe(c(), "sales")),
        "update-pipe": lambda: state["pipe"].update_pipe_settings({"settings": {}}),
        "update-remote": lambda: state["pipe"].update_remote_settings({"location": "x"}),
        "unregister": lambda: c()._unregister("alice"),
    }


client_mid = client_first


def main(who, generation):
    listener = Listener()
    calls = globals()[who + "_" + generation](listener.url)
    out = {}
    for name, answers in STEPS[generation]:
        listener.answers, listener.heard = list(answers), []
        try:
            calls[name]()
            result = "done"
        except Exception as e:
            result = str(e)
        out[name] = {"requests": [plain(r) for r in listener.heard], "result": result}
        if listener.answers:
            out[name]["unasked"] = len(listener.answers)
    return out


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        recorded = main(*sys.argv[1:3])
    print(json.dumps(recorded, indent=1, ensure_ascii=True))
