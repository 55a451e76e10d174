"""The table of checks, and the people that they are about."""
import contextlib
import secrets

from speaker import Answer, Final, First, Refused

TABLE = []  # of Check, in the order in which they run


class Check:
    """A row: id, mark (T, C, D, I as the contract has them), generation (any,
    final, first), what must hold, what the server must be able to do, and the
    function that finds out."""

    def __init__(self, id, mark, generation, what, needs, run):
        self.id, self.mark, self.generation, self.what = id, mark, generation, what
        self.needs, self.run = needs, run


class Skip(Exception):
    """Why a check was not carried out."""


def check(id, mark, generation, what, needs=()):
    """Enters a function of the world into the table."""
    def enter(run):
        if any(row.id == id for row in TABLE):
            raise ValueError("two checks are called " + id)
        TABLE.append(Check(id, mark, generation, what, tuple(needs), run))
        return run
    return enter


class World:
    """A server with people. alice owns things, bob and carol are others; each is
    a Final and a First of the same account. Names are of this run alone."""

    def __init__(self, config):
        self.url = config["url"].rstrip("/")
        self.config = config
        self.mark = secrets.token_hex(3)
        self.log = []  # of (method, url, Answer): everything that was said
        self.people = {}
        self.everybody = []
        self.count = 0
        self.seen = {}  # what rows of the permission table saw, by row

    # people

    def final(self, token=None):
        return Final(self.url, token, self.log)

    def first(self, token=None):
        return First(self.url, token, self.log)

    def person(self, who):
        """The account of who, registered when first wanted."""
        if who not in self.people:
            self.people[who] = self.stranger(who)
        return self.people[who]

    def stranger(self, who="eve"):
        """An account that nobody else uses."""
        self.count += 1
        return Person(self, "%s-%s-%d" % (who, self.mark, self.count))

    @property
    def alice(self):
        return self.person("alice")

    @property
    def bob(self):
        return self.person("bob")

    @property
    def carol(self):
        return self.person("carol")

    # records

    def name(self, what="pipe"):
        self.count += 1
        return "%s-%s-%d" % (what, self.mark, self.count)

    def pipe(self, **settings):
        """A pipe of alice's; returns its name."""
        settings.setdefault("name", self.name())
        answer = self.alice.final.upsert_pipe(settings)
        expect(answer.status, 201, "creation of " + settings["name"])
        return settings["name"]

    def s3(self, **settings):
        """A pipe of alice's on a bucket that is her own."""
        return self.pipe(protocol="s3", location="bucket-of-alice", **settings)

    def remote(self, **settings):
        """A first-generation remote of alice's; returns its name."""
        settings = {"name": self.name("remote"), "protocol": "s3", "location": "bucket-of-alice",
                    "readCredentials": {"aws_access_key_id": "READ", "aws_secret_access_key": "r"},
                    "writeCredentials": {"aws_access_key_id": "WRITE", "aws_secret_access_key": "w"}, **settings}
        expect(self.alice.first.create_or_update("remotes", settings).status, 201)
        return settings["name"]

    def on(self, remote, **settings):
        """A first-generation pipe of alice's on a remote; returns its name."""
        settings = {"name": self.name(), "remote": remote, **settings}
        expect(self.alice.first.create_or_update("pipes", settings).status, 201)
        return settings["name"]

    def close(self):
        """Everybody leaves, and what they own goes with them."""
        for person in self.everybody:
            with contextlib.suppress(Exception):
                person.final.unregister(person.name)


class Person:
    """An account, and its two clients."""

    def __init__(self, world, name):
        self.name, self.email = name, name + "@example.com"
        self.password = "pass of " + name
        self.token = world.final().register(name, self.email, self.password)
        if not self.token:
            raise AssertionError("no token came back for " + name)
        self.final, self.first = world.final(self.token), world.first(self.token)
        world.everybody.append(self)


# what checks say

def expect(got, want, what="answer"):
    if got != want:
        raise AssertionError("%s: got %r, want %r" % (what, got, want))


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def refused(call, *args, text=None, status=None, **kwargs):
    """call must be refused, with text in what the client sees; returns the
    refusal."""
    try:
        got = call(*args, **kwargs)
    except Refused as refusal:
        if text is not None and text not in str(refusal):
            raise AssertionError("%r is not in %s" % (text, refusal))
        if status is not None and refusal.status != status:
            raise AssertionError("status %d, want %d: %s" % (refusal.status, status, refusal))
        return refusal
    if isinstance(got, Answer):
        got = "%d %r" % (got.status, got.body)
    raise AssertionError("not refused: %s" % (got,))
