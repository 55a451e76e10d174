"""Speaks to a repo API as the Python d6tpipe does, byte for byte, with nothing
but the standard library: the same urllib calls, so the same request lines,
headers and bodies, and the same reading of answers, mistakes included.

Speaker is the transport. Final and First are what the two generations of the
client do with it: upserts, opening a pipe, finding its path and credentials.
"""
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT = 30  # seconds; the original waits for ever
_ABSENT = object()


class Refused(Exception):
    """An answer that is no 2xx. Its text is the original's: callers look for
    fragments in it, that is in the repr of the body's bytes."""

    def __init__(self, status, body):
        super().__init__(str(["API error ", status, body]))
        self.status = status
        self.body = body


class Answer:
    """What came back: status, raw bytes, headers, and the parsed body."""

    def __init__(self, status, body, headers, url):
        self.status, self.body, self.headers, self.url = status, body, headers, url

    @property
    def data(self):
        return json.loads(self.body.decode("utf-8")) if self.body else None


class Speaker:
    """One client with one token. The token goes along with every request, even
    to register and log in. log, a list, gets every (method, url, Answer)."""

    def __init__(self, server, token=None, log=None):
        self.server, self.token, self.log = server, token, log if log is not None else []

    def ask(self, method, *segments, body=_ABSENT, query=None):
        """Sends a request and returns its Answer, whatever the status."""
        url = self.server + "/v1/api" + "".join("/" + s for s in segments) + "/"
        if query:
            url += "?" + urllib.parse.urlencode(sorted(query.items()), True)
        data = None if body is _ABSENT else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(url, data=data)
        if self.token is not None:
            request.add_header("Authorization", "Token " + self.token)
        if data:
            request.add_header("Content-Type", "application/json")
        request.get_method = lambda: method
        try:
            reply = urllib.request.build_opener().open(request, timeout=TIMEOUT)
            answer = Answer(reply.getcode(), reply.read(), reply.info(), reply.geturl())
        except urllib.error.HTTPError as refusal:
            answer = Answer(refusal.code, refusal.read(), refusal.headers, refusal.geturl())
        self.log.append((method, url, answer))
        return answer

    def call(self, method, *segments, body=_ABSENT, query=None):
        """Sends a request; returns its Answer if it is a 2xx that can be read,
        otherwise raises."""
        answer = self.ask(method, *segments, body=body, query=query)
        if answer.status // 100 != 2:
            raise Refused(answer.status, answer.body)
        answer.data  # a 2xx must be empty or JSON
        return answer

    def raw(self, method, path, body=None, headers=()):
        """Sends what no client sends, follows nothing, returns an Answer."""
        place = urllib.parse.urlsplit(self.server)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=TIMEOUT)
        try:
            sent = {"Connection": "close", **dict(headers)}
            if self.token is not None:
                sent.setdefault("Authorization", "Token " + self.token)
            connection.request(method, path, body=body, headers=sent)
            reply = connection.getresponse()
            answer = Answer(reply.status, reply.read(), reply.headers, self.server + path)
        finally:
            connection.close()
        self.log.append((method, self.server + path, answer))
        return answer

    # accounts and the root, the same in all generations

    def hello(self):
        """What connecting reads of the root; asked only when there is a token."""
        data = self.call("GET").data
        if "message" in data:
            str(data["message"])
        return data.get("username")

    def register(self, username, email, password):
        form = {"username": username, "email": email, "password": password}
        return self.call("POST", "accounts", body=form).data.get("token")

    def login(self, username, password):
        form = {"username": username, "password": password}
        return self.call("POST", "accounts", "token", body=form).data.get("token")

    def unregister(self, username):
        return self.call("DELETE", "accounts", username)

    def upsert(self, path, settings, read_body=False):
        """PATCH, then POST if that says "Not found", otherwise GET. The first
        generation's GET has the settings as its body."""
        try:
            self.call("PATCH", path, settings["name"], body=settings)
        except Refused as refusal:
            if "Not found" in str(refusal):
                return self.call("POST", path, body=settings)
            raise
        body = settings if read_body else _ABSENT
        return self.call("GET", path, settings["name"], body=body)


class Final(Speaker):
    """The last generation: pipes with parents."""

    def list_pipes(self, parent_only=False):
        pipes = self.call("GET", "pipes").data
        if parent_only:
            pipes = [p for p in pipes if not p.get("parent")]
        return sorted(p["name"] for p in pipes)

    def upsert_pipe(self, settings):
        return self.upsert("pipes", settings)

    def permit(self, pipe, **grant):
        return self.call("POST", "pipes", pipe, "permissions", body=grant)

    def credentials(self, pipe, role):
        return self.call("GET", "pipes", pipe, "credentials", query={"role": role}).data

    def renew(self, pipe):
        self.call("GET", "pipes", pipe, "credentials", query={"role": "read", "renew": True})

    def open(self, name):
        """What opening a pipe reads: raises as the original does, returns the
        settings."""
        if not re.match(r"^[a-zA-Z0-9-]+$", name):
            raise ValueError("Invalid pipe name")
        settings = self.call("GET", "pipes", name).data
        if not settings:
            raise ValueError("pipe not found")
        if settings["protocol"] not in ["s3", "ftp", "sftp"]:
            raise NotImplementedError("Unsupported protocol")
        settings["options"] = settings.get("options", {})
        settings["options"]["remotepath"]
        settings["options"].get("encrypted", False)
        settings.get("role")
        settings.get("schema", {}).get("pandas")
        return settings

    def access(self, settings, write=False):
        """The credentials that a transfer uses."""
        if write and settings.get("role") == "read":
            raise ValueError("Read-only role, cannot write")
        found = self.credentials(settings["name"], "write" if write else "read")
        if not found:
            raise ValueError("No credentials provided")
        return found

    def update_settings(self, name, settings):
        """The original passes them in a way that its transport drops: the PATCH
        has no body."""
        return self.call("PATCH", "pipes", name)


class First(Speaker):
    """The first generation: remotes, and pipes on them."""

    def create_or_update(self, path, settings):
        return self.upsert(path, settings, read_body=True)

    def create_pipe_with_remote(self, remote, pipe=None):
        pipe = dict(pipe or {})
        pipe.setdefault("name", remote["name"])
        pipe.setdefault("remote", remote["name"])
        self.create_or_update("remotes", remote)
        return self.create_or_update("pipes", pipe)

    def permit(self, remote, **grant):
        return self.call("POST", "remotes", remote, "permissions", body=grant)

    def open(self, name):
        """What opening a pipe reads of it and of its remote; returns the path and
        both sets of credentials."""
        pipe = self.call("GET", "pipes", name).data
        pipe["settings"] = pipe.get("settings", {})
        pipe["settings"].get("encrypted", False)
        remote = self.call("GET", "remotes", pipe["remote"]).data
        if not remote:
            raise ValueError("remote not found")
        remote.get("settings", {}).get("encrypted", False)
        read = {**remote.get("readCredentials", {}), **pipe.get("readCredentials", {})}
        write = {**remote.get("writeCredentials", {}), **pipe.get("writeCredentials", {})}
        settings = {**remote.get("settings", {}), **pipe["settings"]}
        {**remote.get("readParams", {}), **pipe.get("readParams", {})}
        return self.path(remote, settings), read, write

    @staticmethod
    def path(remote, settings):
        folder = settings.get("remotedir", "/")
        if "pipedir" in settings:
            folder += "/" + settings["pipedir"]
        folder = re.sub("/+", "/", folder).rstrip("/") or "/"
        if remote["protocol"] == "s3":
            return "s3://" + re.sub("/+", "/", remote["location"] + "/" + folder).rstrip("/") + "/"
        if remote["protocol"] in ("ftp", "sftp"):
            return ("/" + folder.strip("/")).rstrip("/") + "/"
        raise NotImplementedError("only s3 and ftp supported")

    def update_settings(self, path, name, settings):
        """As in the last generation: the PATCH has no body."""
        return self.call("PATCH", path, name)
