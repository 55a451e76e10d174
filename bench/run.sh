#!/usr/bin/env bash
# Measure pulls and pushes beside the programs that people use today, and beside the least that a client can do.
#
#   bench/run.sh                           every workload
#   bench/run.sh pull-small push-large ... some of them: {pull,push}-{small,large}, and local-{small,large}
#   bench/run.sh report                    the table of what was measured so far
#
# Settings, from the environment:
#   RUNS=3                              counted runs of each program
#   SMALL_FILES=10000 SMALL_BYTES=10240 LARGE_FILES=4 LARGE_BYTES=536870912
#   BENCH_ROOT=.cache/bench             data, server and destinations: on a disk users' speed, on a tmpfs the clients' alone
#   ONLY='limit|ours'                   a regular expression of programs
#   S3_PORT=7480                        a free port on loopback
#
# It needs Linux, Go and rclone (apt install rclone). s5cmd and versitygw are built from the module proxy.

# shellcheck disable=SC2317 # workloads are functions, called by their names
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${RUNS:-3} only=${ONLY:-.}
small_files=${SMALL_FILES:-10000} small_bytes=${SMALL_BYTES:-10240}
large_files=${LARGE_FILES:-4} large_bytes=${LARGE_BYTES:-536870912}
root=${BENCH_ROOT:-$PWD/.cache/bench} port=${S3_PORT:-7480}
bin=$root/bin data=$root/data served=$root/served dest=$root/dest results=$root/results.tsv
mkdir -p "$bin" "$data" "$served" "$dest" "$root/logs"
: >"$root/rclone.conf" # rclone reads its settings from the environment

unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN # whatever they say, it is not about this server
export GOWORK=off S3_ENDPOINT=http://127.0.0.1:$port
export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret AWS_REGION=us-east-1
export RCLONE_CONFIG=$root/rclone.conf RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Other RCLONE_CONFIG_S3_ENV_AUTH=true
export RCLONE_CONFIG_S3_ENDPOINT=$S3_ENDPOINT RCLONE_CONFIG_S3_REGION=us-east-1

# --- programs, data, server --------------------------------------------------------------------------------------

build() {
  command -v rclone >/dev/null || { echo "run.sh: rclone is missing; apt install rclone" >&2; exit 1; }
  go -C bench build -o "$bin/" ./limit ./ours ./measure
  cp "$(go -C bench/peers tool -n s5cmd)" "$bin/s5cmd"
  cp "$(go -C tools/gateway tool -n versitygw)" "$bin/versitygw"
}

# make_data NAME FILES BYTES makes random files, a hundred to a folder, an hour old.
make_data() {
  local dir=$data/$1 files=$2 bytes=$3 folder n
  [ "$(cat "$data/.$1" 2>/dev/null)" = "$files $bytes" ] && return
  rm -rf "$dir"
  for ((folder = 0; folder * 100 < files; folder++)); do
    n=$((files - folder * 100 < 100 ? files - folder * 100 : 100))
    mkdir -p "$dir/$folder"
    head -c $((n * bytes)) /dev/urandom | split -b "$bytes" -a 3 -d --additional-suffix=.bin - "$dir/$folder/f"
  done
  find "$dir" -type f -exec touch -d '1 hour ago' {} +
  echo "$files $bytes" >"$data/.$1"
}

start_server() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "run.sh: port $port is taken; set S3_PORT" >&2
    exit 1
  fi
  # Connections stay open, as they do with every other server.
  ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
    "$bin/versitygw" --quiet --keep-alive --port "127.0.0.1:$port" posix "$served" >"$root/logs/server" 2>&1 &
  server=$!
  for _ in {1..100}; do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    sleep 0.1
  done
  echo "run.sh: the server did not start, see $root/logs/server" >&2
  exit 1
}

stop_server() { [ -z "${server:-}" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true; }

# load NAME puts a data set into the bucket of its name.
load() {
  rm -rf "${served:?}/$1"
  "$bin/limit" bucket "$1"
  "$bin/limit" put "$data/$1" "$1"
}

# --- one run -----------------------------------------------------------------------------------------------------

# whole DIR NAME says whether all files of a data set arrived.
whole() {
  local want got
  want=$(cat "$data/.$2")
  got=$(find "$1" -type f -not -path '*/.sgwtmp/*' -printf '%s\n' | awk -v n="${want#* }" '$1 == n {k++} END {print k+0, n}')
  [ "$got" = "$want" ]
}

# timed WORKLOAD PROGRAM CHECKED NAME COMMAND... runs a command once and writes down what it took; a run that exits badly
# or after which files are missing in the folder CHECKED is a FAIL.
timed() {
  local workload=$1 program=$2 checked=$3 name=$4 line=$root/line word=ok
  shift 4
  [[ $program =~ $only ]] || return 0
  rm -f "$line"
  sync -f "$root"
  "$bin/measure" "$line" "$workload	$program" "$@" >"$root/logs/$workload.$program" 2>&1
  [ "$(cut -f 6 "$line")" = 0 ] && whole "$checked" "$name" || word=FAIL
  printf '%s\t%s\n' "$(cut -f 1-5 "$line")" "$word" | tee -a "$results"
}

# new_folder empties the place for pulls; new_push makes an empty bucket, and a copy of the data by hard links, so that
# nobody finds what another left beside it.
new_folder() { rm -rf "${dest:?}"; mkdir -p "$dest/files"; }
new_push() {
  new_folder
  rm -rf "$dest/files" "${served:?}/push"
  cp -al "$data/$1" "$dest/files"
  "$bin/limit" bucket push
}

s5() { timed "$1" s5cmd "$2" "$3" "$bin/s5cmd" --log error --numworkers 32 --endpoint-url "$S3_ENDPOINT" cp "$4" "$5"; }
rc() {
  local workload=$1 checked=$2 name=$3
  shift 3
  timed "$workload" rclone "$checked" "$name" rclone copy -q --transfers 32 --checkers 32 --fast-list "$@"
}

pull() { # WORKLOAD NAME
  new_folder; timed "$1" limit "$dest/files" "$2" "$bin/limit" get "$data/$2" "$2" "$dest/files"
  new_folder; timed "$1" ours "$dest/files" "$2" "$bin/ours" pull "s3://$2" "$dest/files"
  new_folder; s5 "$1" "$dest/files" "$2" "s3://$2/*" "$dest/files/"
  new_folder; rc "$1" "$dest/files" "$2" --ignore-checksum --multi-thread-streams 4 "s3:$2" "$dest/files"
}

push() { # WORKLOAD NAME
  new_push "$2"; timed "$1" limit "$served/push" "$2" "$bin/limit" put "$dest/files" push
  new_push "$2"; timed "$1" ours "$served/push" "$2" "$bin/ours" push "$dest/files" s3://push
  new_push "$2"; s5 "$1" "$served/push" "$2" "$dest/files/*" s3://push/
  new_push "$2"; rc "$1" "$served/push" "$2" --s3-no-head --s3-no-check-bucket --s3-chunk-size 16M \
    --s3-upload-concurrency 8 "$dest/files" s3:push
}

copy() { # WORKLOAD NAME
  new_folder; timed "$1" limit "$dest/files" "$2" cp -r "$data/$2/." "$dest/files"
  new_folder; timed "$1" ours "$dest/files" "$2" "$bin/ours" pull "$data/$2" "$dest/files"
  new_folder; rc "$1" "$dest/files" "$2" "$data/$2" "$dest/files"
}

# --- the table ---------------------------------------------------------------------------------------------------

# report prints medians, and by how much each program is off the limit and off the best peer.
report() {
  LC_ALL=C sort -t '	' -k 1,2 -k 3,3n "$results" | awk -F '\t' '
    function flush() {
      if (n) { key = w SUBSEP p; med[key] = n % 2 ? wall[(n+1)/2] : (wall[n/2] + wall[n/2+1]) / 2
        cpu_of[key] = cpu / n; rss_of[key] = rss; runs[key] = n; order[++k] = key }
      n = cpu = rss = 0 }
    $6 != "ok" { failed[$1 SUBSEP $2]++; next }
    w != $1 || p != $2 { flush(); w = $1; p = $2 }
    { wall[++n] = $3; cpu += $4; if ($5 > rss) rss = $5 }
    END { flush()
      for (i = 1; i <= k; i++) { split(order[i], a, SUBSEP)
        if (a[2] != "limit" && a[2] != "ours" && (!(a[1] in best) || med[order[i]] < best[a[1]])) best[a[1]] = med[order[i]] }
      print "| workload | program | median s | of best peer | of limit | CPU s | peak MiB | runs |"
      print "|---|---|--:|--:|--:|--:|--:|--:|"
      for (i = 1; i <= k; i++) { key = order[i]; split(key, a, SUBSEP); l = med[a[1] SUBSEP "limit"]
        printf "| %s | %s | %.2f | %s | %s | %.1f | %.0f | %d |\n", a[1], a[2], med[key],
          a[1] in best && best[a[1]] ? sprintf("%.2f", med[key] / best[a[1]]) : "-", l ? sprintf("%.2f", med[key] / l) : "-",
          cpu_of[key], rss_of[key], runs[key] }
      for (key in failed) { split(key, a, SUBSEP); printf "FAILED %d times: %s %s\n", failed[key], a[1], a[2] } }'
}

if [ "${1:-}" = report ]; then
  report
  exit
fi
[ $# -gt 0 ] || set -- pull-small push-small pull-large push-large local-small local-large
build
make_data small "$small_files" "$small_bytes"
make_data large "$large_files" "$large_bytes"
trap stop_server EXIT
start_server
: >"$results"
load small
load large
# Round by round, so that a change of the machine's mood meets all of them.
for ((run = 0; run < runs; run++)); do
  for workload; do
    case $workload in
      pull-*) pull "$workload" "${workload#*-}" ;;
      push-*) push "$workload" "${workload#*-}" ;;
      local-*) copy "$workload" "${workload#*-}" ;;
      *) echo "run.sh: unknown workload $workload" >&2; exit 2 ;;
    esac
  done
done
echo
report
