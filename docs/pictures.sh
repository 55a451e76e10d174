#!/usr/bin/env bash
# Make the pictures of the README from real runs. It needs Go and `script` (Debian's bsdutils) for a terminal.
set -euo pipefail
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/bin" "$tmp/home"
go build -o "$tmp/bin/d6tpipe" ./cmd/d6tpipe
GOWORK=off go -C tools build -o "$tmp/bin/termsvg" ./termsvg
unset NO_COLOR "${!D6TPIPE_@}"
export PATH=$tmp/bin:$PATH HOME=$tmp/home TMPDIR=$tmp/home TERM=xterm-256color

# on_terminal COMMAND runs a line of shell on a terminal of 100 columns.
on_terminal() { script -qec "stty cols 100 rows 40; $1" /dev/null; }

# The middle of the demo, from the push to the conflict; the folder has the name that it has on most systems.
on_terminal 'd6tpipe demo' | sed -e "s#$tmp/home/d6tpipe-demo-[0-9]*#/tmp/d6tpipe-demo#g" -e '/# Ann publishes/,/# He looks/!d' -e '/# He looks/d' |
  termsvg 'd6tpipe demo' >docs/demo.svg

# A status, and a pull while it runs: a share with big files, of which one was edited here.
mkdir "$tmp/share"
for i in 1 2 3 4 5 6; do
  head -c $((i * 40000000)) /dev/urandom >"$tmp/share/2026-0$i.parquet"
done
echo 'region,total' >"$tmp/share/summary.csv"
{
  d6tpipe --local remotes create share --protocol dir --location "$tmp/share"
  d6tpipe --local pipes create sales --remote share
  d6tpipe --local pull sales --include '*.csv|2026-01*'
} >/dev/null 2>&1
echo 'north,12' >>"$(d6tpipe --local profiles dir)/sales/summary.csv"
{
  printf '\033[32m$ d6tpipe status sales\033[0m\n'
  on_terminal 'd6tpipe --local status sales'
  printf '\033[32m$ d6tpipe pull sales\033[0m\n'
  on_terminal 'd6tpipe --local pull sales'
} | sed -e "s#$tmp/home#/home/mary#g" -e "s#$tmp/share#/mnt/share#g" | termsvg -fullest '' >docs/sync.svg
