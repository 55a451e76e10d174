#!/bin/sh
# keyring-session.sh HOME COMMAND... runs a command on a private D-Bus session
# with a real Secret Service: a throw-away keyring, unlocked, kept below HOME.
# The keyring daemon ends with the session.
set -eu
home=$1
shift
runtime=$(mktemp -d)
trap 'rm -rf "$runtime"' EXIT
env -i PATH="$PATH" HOME="$home" XDG_RUNTIME_DIR="$runtime" D6TPIPE_TEST_KEYRING="${D6TPIPE_TEST_KEYRING:-}" GORACE="${GORACE:-}" \
	dbus-run-session -- sh -c '
		printf throw-away | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null
		"$@"' sh "$@"
