"""Files through the credentials that the server hands out: real ones, with boto3
and the calls that the client makes with it. Managed storage, and a bucket of
one's own behind a server."""
import hashlib
import os
import secrets
import tempfile
import urllib.parse

from world import Skip, check, expect, holds

PART = 8 << 20  # bytes; the client's part size


class Store:
    """The client's S3: its credentials are keyword arguments, its paths begin
    with s3://."""

    def __init__(self, keys):
        try:
            import boto3  # late, because it takes as long as a hundred checks
        except ImportError:
            raise Skip("needs apt package: python3-boto3")
        rest = dict(keys)
        id, secret = rest.pop("aws_access_key_id", None), rest.pop("aws_secret_access_key", None)
        self.s3 = boto3.resource("s3", aws_access_key_id=id, aws_secret_access_key=secret, **rest)
        self.client = self.s3.meta.client

    @staticmethod
    def split(path):
        parts = urllib.parse.urlsplit(path, allow_fragments=False)
        return parts.netloc, parts.path[1:] + ("?" + parts.query if parts.query else "")

    def put(self, local, path):
        from boto3.s3.transfer import TransferConfig
        bucket, key = self.split(path)
        with open(local, "rb") as file:
            self.client.upload_fileobj(Fileobj=file, Bucket=bucket, Key=key, Config=TransferConfig(multipart_chunksize=PART), ExtraArgs={})

    def get(self, path, local):
        self.client.download_file(*self.split(path), local)

    def scan(self, path):
        """What a scan sees: name below path, size, and the tag without quotes."""
        bucket, key = self.split(path)
        found = self.s3.Bucket(bucket).objects.filter(Prefix=key)
        return {("s3://" + o.bucket_name + "/" + o.key)[len(path):]: (o.size, o.e_tag.strip('"')) for o in found if o.key[-1] != "/"}

    def loads(self, path):
        try:
            self.s3.Object(*self.split(path)).load()
        except self.client.exceptions.ClientError as e:
            if e.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return False
            raise
        return True

    def exists(self, path):
        """The client asks three ways, and takes only a 404 for a no."""
        if self.loads(path):
            return True
        bucket, key = self.split(path)
        for suffix in ("_$folder$", "/"):
            try:
                self.client.get_object(Bucket=bucket, Key=key + suffix)
                return True
            except self.client.exceptions.ClientError as e:
                if e.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                    raise
        return any(True for _ in self.s3.Bucket(bucket).objects.filter(Prefix=key + "/").limit(1))

    def remove(self, path):
        if self.exists(path) and self.loads(path):
            bucket, key = self.split(path)
            self.client.delete_object(Bucket=bucket, Key=key)

    def write(self, path, data):
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "file")
            with open(local, "wb") as file:
                file.write(data)
            self.put(local, path)

    def read(self, path):
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "file")
            self.get(path, local)
            with open(local, "rb") as file:
                return file.read()


def denied(call, *args):
    """The storage must refuse; boto3 wraps the refusal of a transfer."""
    try:
        call(*args)
    except Exception as e:
        response = getattr(e, "response", {}).get("ResponseMetadata", {})
        holds(response.get("HTTPStatusCode") == 403 or "AccessDenied" in str(e), repr(e))
        return
    raise AssertionError("the storage allowed it")


def stores(client, name):
    """The path of an open pipe, and stores with its read and write keys."""
    pipe = client.open(name)
    return pipe["options"]["remotepath"], Store(client.access(pipe)), Store(client.access(pipe, write=True))


def managed(id, mark, what, generation="final"):
    return check("files-" + id, mark, generation, "managed storage: " + what, needs=["files"])


def round_trip(path, read, write, name="folder/test.csv", data=b"a\n1\n2\n"):
    write.write(path + name, data)
    expect(read.scan(path), {name: (len(data), hashlib.md5(data).hexdigest())})
    expect(read.read(path + name), data)
    write.remove(path + name)
    expect(read.scan(path), {})


@managed("push-pull", "T", "push, scan, pull and remove; the tag is the content's MD5")
def _(w):
    round_trip(*stores(w.alice.final, w.pipe(name=w.name("managed"))))


@managed("exists", "T", "exists is False before, True after; for readers and writers a missing file is a 404, not a 403")
def _(w):
    path, read, write = stores(w.alice.final, w.pipe(name=w.name("managed")))
    for store in (read, write):
        expect(store.exists(path + "folder/test.csv"), False)
    write.write(path + "folder/test.csv", b"x")
    for store in (read, write):
        expect((store.exists(path + "folder/test.csv"), store.exists(path + "folder")), (True, True))
    write.remove(path + "folder/test.csv")
    write.remove(path + "folder/test.csv")
    expect(read.exists(path + "folder/test.csv"), False)


@managed("multipart", "C", "a file of several parts goes up and comes down in ranges")
def _(w):
    path, read, write = stores(w.alice.final, w.pipe(name=w.name("managed")))
    data = secrets.token_bytes(1 << 20) * 18 + b"end"
    write.write(path + "big.bin", data)
    (size, tag), = read.scan(path).values()
    expect((size, tag[-2:]), (len(data), "-3"))
    expect(hashlib.sha256(read.read(path + "big.bin")).hexdigest(), hashlib.sha256(data).hexdigest())
    write.remove(path + "big.bin")


@managed("names", "I", "names with blanks, signs and letters of the world; an empty file")
def _(w):
    path, read, write = stores(w.alice.final, w.pipe(name=w.name("managed")))
    names = ["a b.csv", "\u00fc \u65e5\u672c.csv", "a+b=c&d.csv", "100%25.csv", "#1.csv", "deep/er/x.csv", "'q\"~!@$^()[]{}.csv"]
    for name in names:
        write.write(path + name, name.encode())
    write.write(path + "empty.csv", b"")
    expect(sorted(read.scan(path)), sorted(names + ["empty.csv"]))
    for name in names:
        expect(read.read(path + name), name.encode(), name)
        write.remove(path + name)
    expect(read.read(path + "empty.csv"), b"")


@managed("overwrite", "T", "a second push replaces the file and its tag")
def _(w):
    path, read, write = stores(w.alice.final, w.pipe(name=w.name("managed")))
    for data in (b"one", b"two2"):
        write.write(path + "a.csv", data)
        expect((read.read(path + "a.csv"), read.scan(path)["a.csv"][1]), (data, hashlib.md5(data).hexdigest()))


@managed("reader", "T", "a reader pulls, and the storage itself refuses what he writes")
def _(w):
    name = w.pipe(name=w.name("managed"))
    path, _, write = stores(w.alice.final, name)
    write.write(path + "a.csv", b"data")
    w.alice.final.permit(name, username=w.bob.name, role="read")
    read = Store(w.bob.final.access(w.bob.final.open(name)))
    expect((read.read(path + "a.csv"), sorted(read.scan(path))), (b"data", ["a.csv"]))
    denied(read.write, path + "a.csv", b"worse")
    denied(read.write, path + "b.csv", b"new")
    bucket, key = read.split(path + "a.csv")
    denied(lambda: read.client.delete_object(Bucket=bucket, Key=key))
    expect(read.read(path + "a.csv"), b"data")


@managed("writer", "T", "a writer pulls and pushes, and the owner sees it")
def _(w):
    name = w.pipe(name=w.name("managed"))
    path, mine, write = stores(w.alice.final, name)
    write.write(path + "folder/test.csv", b"data")
    w.alice.final.permit(name, username=w.bob.name, role="write")
    _, read, theirs = stores(w.bob.final, name)
    expect(read.read(path + "folder/test.csv"), b"data")
    theirs.write(path + "folder/test2.csv", b"more")
    expect(sorted(mine.scan(path)), ["folder/test.csv", "folder/test2.csv"])


@managed("public", "T", "anybody with an account pulls a public pipe")
def _(w):
    name = w.pipe(name=w.name("managed"), schema={"pandas": {"index_col": 0}})
    path, _, write = stores(w.alice.final, name)
    write.write(path + "README.md", b"# Hello\n")
    w.alice.final.permit(name, username="public", role="read")
    try:
        pipe = w.bob.final.open(name)
        expect(Store(w.bob.final.access(pipe)).read(pipe["options"]["remotepath"] + "README.md"), b"# Hello\n")
    finally:
        w.alice.final.permit(name, username="public", role="revoke")


@managed("renewed", "T", "keys from before and after a renewal work")
def _(w):
    name = w.pipe(name=w.name("managed"))
    path, read, write = stores(w.alice.final, name)
    write.write(path + "a.csv", b"data")
    w.alice.final.renew(name)
    _, again, _ = stores(w.alice.final, name)
    expect(again.read(path + "a.csv"), b"data")


@managed("child", "I", "a child's files lie in its parent's")
def _(w):
    name = w.pipe(name=w.name("managed"))
    path, parent, _ = stores(w.alice.final, name)
    below, read, write = stores(w.alice.final, w.pipe(parent=name, options={"dir": "child"}))
    write.write(below + "a.csv", b"data")
    expect((sorted(read.scan(below)), sorted(parent.scan(path))), (["a.csv"], ["child/a.csv"]))


@managed("fences", "I", "keys of one pipe open no other: not its sibling, not what begins like it, not its parent")
def _(w):
    name = w.pipe(name=w.name("managed"))
    other = w.pipe(name=name + "-2")
    child = w.pipe(parent=name, options={"dir": "child"})
    path, read, write = stores(w.alice.final, name)
    beyond, _, theirs = stores(w.alice.final, other)
    below, inner, inner_write = stores(w.alice.final, child)
    theirs.write(beyond + "a.csv", b"secret")
    write.write(path + "a.csv", b"secret")
    inner_write.write(below + "a.csv", b"mine")
    for store, at in ((read, beyond), (write, beyond), (inner, path), (inner_write, path)):
        denied(store.read, at + "a.csv")
        denied(store.scan, at)
        denied(store.write, at + "b.csv", b"x")
    bucket = read.split(path)[0]
    denied(read.scan, "s3://%s/" % bucket)
    denied(read.scan, path.rstrip("/"))


@managed("first", "T", "the first generation pushes, scans, pulls and removes", generation="first")
def _(w):
    name = w.name("managed")
    w.alice.first.create_pipe_with_remote({"name": name, "protocol": "d6tfree"})
    path, read, write = w.alice.first.open(name)
    for file in ("test.csv", "test2.csv"):
        Store(write).remove(path + file)
    round_trip(path, Store(read), Store(write))


@managed("first-shared", "T", "the first generation's readers pull, its writers push", generation="first")
def _(w):
    name = w.name("managed")
    w.alice.first.create_pipe_with_remote({"name": name, "protocol": "d6tfree"})
    path, _, write = w.alice.first.open(name)
    Store(write).write(path + "test.csv", b"data")
    w.alice.first.permit(name, user=w.bob.name, role="read")
    _, read, none = w.bob.first.open(name)
    expect((Store(read).read(path + "test.csv"), none), (b"data", {}))
    denied(Store(read).write, path + "test2.csv", b"x")
    w.alice.first.permit(name, user=w.bob.name, role="write")
    _, read, write = w.bob.first.open(name)
    Store(write).write(path + "test2.csv", b"more")
    expect(sorted(Store(read).scan(path)), ["test.csv", "test2.csv"])


# a bucket of one's own


@check("own-bucket", "C", "final", "a bucket of one's own at any endpoint: the keywords pass through the server to boto3", needs=["bucket"])
def _(w):
    keys, bucket = w.config["s3"], w.config["bucket"]
    parent = w.pipe(protocol="s3", location=bucket, credentials=keys)
    round_trip(*stores(w.alice.final, w.pipe(parent=parent, options={"dir": w.name("dir"), "include": "*.csv"})))


@check("own-bucket-shared", "T", "final", "a bucket of one's own: a reader of the parent pulls from the child", needs=["bucket"])
def _(w):
    keys, bucket = w.config["s3"], w.config["bucket"]
    parent = w.pipe(protocol="s3", location=bucket, credentials={"read": keys, "write": keys})
    child = w.pipe(parent=parent, options={"dir": w.name("dir")})
    path, _, write = stores(w.alice.final, child)
    write.write(path + "a.csv", b"data")
    w.alice.final.permit(parent, username=w.bob.name, role="read")
    pipe = w.bob.final.open(child)
    expect(Store(w.bob.final.access(pipe)).read(pipe["options"]["remotepath"] + "a.csv"), b"data")
    write.remove(path + "a.csv")


@check("own-bucket-empty-token", "C", "final", "an empty aws_session_token passes through the server and boto3", needs=["bucket"])
def _(w):
    keys, bucket = dict(w.config["s3"], aws_session_token=""), w.config["bucket"]
    round_trip(*stores(w.alice.final, w.pipe(protocol="s3", location=bucket, credentials=keys, options={"dir": w.name("dir")})))


@check("own-bucket-first", "C", "first", "a bucket of one's own: the first generation pushes and pulls", needs=["bucket"])
def _(w):
    keys, bucket = w.config["s3"], w.config["bucket"]
    remote = w.remote(location=bucket, readCredentials=keys, writeCredentials=keys)
    path, read, write = w.alice.first.open(w.on(remote, settings={"remotedir": w.name("dir") + "/"}))
    round_trip(path, Store(read), Store(write))
