"""A day with the real client, its last generation. Standard input is that of
checks.py; the first thing that is not as it should be ends it."""
import json
import os
import secrets
import sys
import warnings

import d6tpipe
import d6tpipe.api
from d6tpipe.http_client.exceptions import APIError

CONFIG = json.load(sys.stdin)
MARK = secrets.token_hex(3)
HOME = os.path.expanduser("~")


def client(who):
    file = os.path.join(HOME, "cfg-%s.json" % who)
    if not os.path.exists(file):
        d6tpipe.api.ConfigManager(profile=who, filecfg=file).init({"server": CONFIG["url"], "filerepo": os.path.join(HOME, who)})
    return d6tpipe.APIClient(profile=who, filecfg=file)


def refused(text, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except (APIError, ValueError) as e:
        assert text in str(e), e
        return
    raise AssertionError("not refused: " + text)


def accounts():
    """alice and bob, with what register and login promise."""
    names = ["alice-" + MARK, "bob-" + MARK]
    tokens = [client(n).register(n, n + "@example.com", "pw of " + n) for n in names]
    assert all(tokens), tokens
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert client(names[0]).register(names[0], "x@example.com", "a long password") is None
    assert any("already registered" in str(w.message) for w in seen), seen
    assert client(names[0]).login(names[0], "pw of " + names[0]) == tokens[0]
    assert client(names[0]).username == names[0]
    refused("can only unregister yourself", client(names[0])._unregister, names[1])
    return [client(n) for n in names]


def pipes(alice, bob):
    """Parents, children, sharing."""
    parent, child = "parent-" + MARK, "child-" + MARK
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "B"}
    response, _ = d6tpipe.upsert_pipe(alice, {"name": parent, "protocol": "s3", "location": "bucket", "credentials": keys})
    assert response.status_code == 201
    d6tpipe.upsert_pipe(alice, {"name": child, "parent": parent, "options": {"dir": "vendorX/", "include": "*.csv"}, "schema": {"pandas": {"sep": ","}}})
    assert {parent, child} <= set(alice.list_pipes())
    assert parent in alice.list_pipes(parent_only=True) and child not in alice.list_pipes(parent_only=True)
    refused("alphanumeric", d6tpipe.upsert_pipe, alice, {"name": "$x"})
    refused("alphanumeric", d6tpipe.upsert_pipe, alice, {"name": "a/b"})
    pipe = d6tpipe.Pipe(alice, child)
    assert (pipe.remote_prefix, pipe.schema, pipe.role) == ("s3://bucket/vendorX/", {"pandas": {"sep": ","}}, "write")
    assert pipe._get_credentials() == keys == pipe._get_credentials(write=True)
    pipe.update_settings({"schema": {"a": 1}})
    refused("403", d6tpipe.Pipe, bob, child)
    d6tpipe.upsert_permissions(alice, parent, {"username": bob.username, "role": "read"})
    theirs = d6tpipe.Pipe(bob, child)
    assert theirs.role == "read" and theirs._get_credentials() == keys
    refused("Read-only", theirs.push)
    assert set(bob.list_pipes()) == {parent, child}
    d6tpipe.upsert_permissions(alice, parent, {"email": bob.username + "@example.com", "role": "revoke"})
    refused("403", d6tpipe.Pipe, bob, child)


def sync(api, name, file="folder/test.csv"):
    """Push, scan, pull and remove."""
    pipe = d6tpipe.Pipe(api, name)
    path = pipe.dirpath / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a,b\n1,2\n")
    assert pipe.push() == [file]
    assert pipe.scan_remote(cached=False) == [file]
    assert pipe.is_synced() and pipe.pull_preview() == []
    path.unlink()
    assert pipe.pull(files=[file]) == [file] and path.read_bytes() == b"a,b\n1,2\n"
    return pipe


def managed(alice, bob):
    """Storage of the server's, with nothing configured."""
    name = "managed-" + MARK
    d6tpipe.upsert_pipe(alice, {"name": name})
    pipe = sync(alice, name)
    before = pipe._get_credentials()["aws_access_key_id"]
    pipe._reset_credentials()
    assert pipe._get_credentials()["aws_access_key_id"] != before
    d6tpipe.upsert_permissions(alice, name, {"username": bob.username, "role": "read"})
    theirs = d6tpipe.Pipe(bob, name)
    assert theirs.pull() == ["folder/test.csv"]
    refused("Read-only", theirs.push)
    d6tpipe.upsert_permissions(alice, name, {"username": bob.username, "role": "write"})
    theirs = d6tpipe.Pipe(bob, name)
    (theirs.dirpath / "more.csv").write_bytes(b"x\n" * (5 << 20))
    assert theirs.push() == ["more.csv"]
    assert pipe.scan_remote(cached=False) == ["folder/test.csv", "more.csv"]
    pipe.delete_files_remote(confirm=False)
    assert pipe.scan_remote(cached=False) == []


def own(alice):
    """A bucket of one's own."""
    name = "own-" + MARK
    d6tpipe.upsert_pipe(alice, {"name": name, "protocol": "s3", "location": CONFIG["bucket"], "credentials": CONFIG["s3"], "options": {"dir": name}})
    pipe = sync(alice, name)
    pipe.delete_files_remote(confirm=False)
    assert pipe.scan_remote(cached=False) == []


def main():
    alice, bob = accounts()
    try:
        pipes(alice, bob)
        if "files" not in CONFIG["lacks"]:
            managed(alice, bob)
        if CONFIG.get("bucket"):
            own(alice)
    finally:
        for api in (alice, bob):
            api._unregister(api.username)


if __name__ == "__main__":
    main()
