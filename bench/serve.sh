#!/usr/bin/env bash
# Measure `d6tpipe serve` under load: logins, lists, both at once, slow connections, memory.
#
#   bench/serve.sh [-seconds N]     each load for N seconds, 10 without it; about two minutes in all
#   bench/serve.sh crowd            a list of 50 pipes alone, and beside 100,000 pipes and 1,000,000 permissions of others,
#                                   on SQLite and PostgreSQL (apt install postgresql); minutes, most of it to make them
#   bench/serve.sh schedules        1,000 pipes of 1,000 files that the server scans by itself; about three minutes
#   bench/serve.sh mirror           a mirror from FTP to managed storage, against a pull from the FTP server alone
#                                   (apt install vsftpd, as root); three minutes
#
# Settings of the server, from the environment: D6TPIPE_SERVE_DATABASE=postgres://... measures on PostgreSQL, in an empty
# database. It needs Linux and Go. It ends with 1 when an answer was wrong, and with 3 when a target was missed.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = crowd ]; then
  exec go -C server test -run '^$' -bench '^Benchmark(List|Login)$' -benchtime 200x -timeout 30m ./internal/repo
fi
if [ "${1:-}" = schedules ]; then
  shift
  set -- -schedules -seconds 60 "$@"
fi
if [ "${1:-}" = mirror ]; then
  exec go -C server test -run '^$' -bench '^BenchmarkMirror$' -benchtime 3x -timeout 30m .
fi
bin=${BENCH_ROOT:-$PWD/.cache/bench}/bin
mkdir -p "$bin"
go build -o "$bin/d6tpipe" ./cmd/d6tpipe
GOWORK=off go -C bench build -o "$bin/serve" ./serve
exec "$bin/serve" -program "$bin/d6tpipe" "$@"
