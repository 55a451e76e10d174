"""A day with the real client, its first generation. Standard input is that of
checks.py; the first thing that is not as it should be ends it."""
import json
import os
import secrets
import sys

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
    return d6tpipe.api.APIClient(profile=who, filecfg=file)


def refused(text, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except (APIError, ValueError) as e:
        assert text in str(e), e
        return
    raise AssertionError("not refused: " + text)


def remotes(alice, bob):
    """A remote, a pipe on it, sharing."""
    remote, pipe = "remote-" + MARK, "pipe-" + MARK
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "B"}
    settings = {"name": remote, "protocol": "s3", "location": "bucket", "readCredentials": keys, "writeCredentials": keys}
    response, _ = d6tpipe.api.create_or_update(alice.cnxn.remotes, dict(settings))
    assert response.status_code == 201
    d6tpipe.api.create_or_update(alice.cnxn.remotes, dict(settings))
    refused("unique", alice.cnxn.remotes.post, request_body=settings)
    refused("alphanumeric", d6tpipe.api.create_or_update, alice.cnxn.remotes, {"name": "$x"})
    d6tpipe.api.create_or_update(alice.cnxn.pipes, {"name": pipe, "remote": remote, "settings": {"remotedir": "vendorX/", "include": "*.csv"}})
    mine = d6tpipe.Pipe(alice, pipe)
    assert mine.remote_prefix == "s3://bucket/vendorX/", mine.remote_prefix
    mine.update_pipe_settings({"settings": {}})
    mine.update_remote_settings({"location": "x"})
    assert d6tpipe.Pipe(alice, pipe).remote_prefix == "s3://bucket/vendorX/"
    refused("403", d6tpipe.Pipe, bob, pipe)
    d6tpipe.api.create_or_update_permissions(alice, remote, {"user": bob.username, "role": "read"})
    theirs = d6tpipe.Pipe(bob, pipe)
    assert theirs.cfg_remote_read_creds == keys and not theirs.cfg_remote_write_creds
    refused("No write credentials", theirs.push)
    d6tpipe.api.create_or_update_permissions(alice, remote, {"user": bob.username, "role": "write"})
    assert d6tpipe.Pipe(bob, pipe).cfg_remote_write_creds == keys
    d6tpipe.api.create_or_update_permissions(alice, remote, {"user": bob.username, "role": "revoke"})
    refused("403", d6tpipe.Pipe, bob, pipe)


def sync(api, name, file="test.csv"):
    """Push, scan, pull and remove."""
    pipe = d6tpipe.Pipe(api, name)
    (pipe.dirpath / file).write_bytes(b"a,b\n1,2\n")
    assert pipe.push() == [file]
    assert [f["filename"] for f in pipe.scan_remote(cached=False)[1]] == [file]
    (pipe.dirpath / file).unlink()
    assert pipe.pull(files=[file]) == [file] and (pipe.dirpath / file).read_bytes() == b"a,b\n1,2\n"
    return pipe


def managed(alice, bob):
    """Storage of the server's, with nothing configured."""
    name = "managed-" + MARK
    d6tpipe.api.create_pipe_with_remote(alice, {"name": name, "protocol": "d6tfree"})
    pipe = sync(alice, name)
    d6tpipe.api.create_or_update_permissions(alice, name, {"user": bob.username, "role": "read"})
    theirs = d6tpipe.Pipe(bob, name)
    assert theirs.pull() == ["test.csv"]
    refused("No write credentials", theirs.push)
    pipe._pullpush_luigi(["test.csv"], op="remove")
    assert pipe.scan_remote(cached=False)[1] == []


def own(alice):
    """A bucket of one's own."""
    name = "own-" + MARK
    remote = {"name": name, "protocol": "s3", "location": CONFIG["bucket"], "readCredentials": CONFIG["s3"], "writeCredentials": CONFIG["s3"]}
    d6tpipe.api.create_pipe_with_remote(alice, remote, {"settings": {"remotedir": name}})
    pipe = sync(alice, name)
    pipe._pullpush_luigi(["test.csv"], op="remove")
    assert pipe.scan_remote(cached=False)[1] == []


def main():
    people = []
    try:
        for who in ("alice", "bob"):
            name = "%s-%s" % (who, MARK)
            token = client(name).register(name, name + "@example.com", "a long password")
            assert client(name).forgotToken(name, "a long password") == token
            people.append(client(name))
            assert people[-1].username == name
        alice, bob = people
        remotes(alice, bob)
        if "files" not in CONFIG["lacks"]:
            managed(alice, bob)
        if CONFIG.get("bucket"):
            own(alice)
    finally:
        for api in people:
            api._unregister(api.username)


if __name__ == "__main__":
    main()
