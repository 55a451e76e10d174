#!/usr/bin/env bash
# Measure pulls and pushes beside the programs that people use today, and beside the least that a client can do.
#
#   bench/run.sh                           every workload
#   bench/run.sh pull-small sftp-large ... some of them: {pull,push}-{small,mixed,large}, noop-{20k,100k},
#                                          {sftp,sftp-push,ftp,ftp-push}-{few,two}, local-{small,large}
#   bench/run.sh report                    the table of what was measured so far
#
# Settings, from the environment:
#   RUNS=3                              counted runs of each program
#   SMALL_FILES=10000 SMALL_BYTES=10240 LARGE_FILES=4 LARGE_BYTES=536870912
#   BENCH_ROOT=.cache/bench             data, server and destinations: on a disk users' speed, on a tmpfs the clients' alone
#   ONLY='limit|ours'                   a regular expression of programs
#   S3_PORT=7480 SFTP_PORT=7422 FTP_PORT=7421   free ports on loopback
#
# It needs Linux, Go and rclone (apt install rclone), for SFTP and FTP root, lftp, openssh-server and vsftpd too. s5cmd, mc
# and versitygw are built from the module proxy.

# shellcheck disable=SC2317 # workloads are functions, called by their names
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${RUNS:-3} only=${ONLY:-.}
small_files=${SMALL_FILES:-10000} small_bytes=${SMALL_BYTES:-10240}
large_files=${LARGE_FILES:-4} large_bytes=${LARGE_BYTES:-536870912}
root=${BENCH_ROOT:-$PWD/.cache/bench} port=${S3_PORT:-7480} sftp_port=${SFTP_PORT:-7422} ftp_port=${FTP_PORT:-7421}
bin=$root/bin data=$root/data served=$root/served dest=$root/dest results=$root/results.tsv
mkdir -p "$bin" "$data" "$served" "$dest" "$root/logs"
: >"$root/rclone.conf" # rclone reads its settings from the environment

unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN # whatever they say, it is not about this server
export GOWORK=off S3_ENDPOINT=http://127.0.0.1:$port
export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret AWS_REGION=us-east-1
export RCLONE_CONFIG=$root/rclone.conf RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Other RCLONE_CONFIG_S3_ENV_AUTH=true
export RCLONE_CONFIG_S3_ENDPOINT=$S3_ENDPOINT RCLONE_CONFIG_S3_REGION=us-east-1
export MC_CONFIG_DIR=$root/mc MC_HOST_bench=http://$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY@127.0.0.1:$port

# --- programs, data, server --------------------------------------------------------------------------------------

build() {
  command -v rclone >/dev/null || { echo "run.sh: rclone is missing; apt install rclone" >&2; exit 1; }
  go -C bench build -o "$bin/" ./limit ./ours ./measure
  cp "$(go -C bench/peers tool -n s5cmd)" "$bin/s5cmd"
  cp "$(go -C bench/peers/mc tool -n mc)" "$bin/mc"
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
  servers+=($!)
  listening "$port" server
}

servers=()
stop_servers() { [ ${#servers[@]} = 0 ] || { kill "${servers[@]}" && wait "${servers[@]}"; } 2>/dev/null || true; }

# listening waits for a server, of which only the port is known.
listening() {
  for _ in {1..100}; do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  echo "run.sh: $2 did not start, see $root/logs/$2" >&2
  exit 1
}

# start_sftp starts an sshd with keys of its own; the user is who runs this.
start_sftp() {
  local dir=$root/sshd
  mkdir -p "$dir" /run/sshd
  [ -f "$dir/host" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/host"
  [ -f "$dir/user" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/user"
  cat >"$dir/config" <<END
ListenAddress 127.0.0.1:$sftp_port
HostKey $dir/host
AuthorizedKeysFile $dir/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200:30:400
Subsystem sftp internal-sftp
END
  /usr/sbin/sshd -D -e -f "$dir/config" 2>"$root/logs/sshd" &
  servers+=($!)
  listening "$sftp_port" sshd
  echo "[127.0.0.1]:$sftp_port $(cut -d ' ' -f 1,2 "$dir/host.pub")" >"$dir/known"
  export SFTP_KEY=$dir/user SFTP_FINGERPRINT
  SFTP_FINGERPRINT=$(ssh-keygen -l -E sha256 -f "$dir/host.pub" | cut -d ' ' -f 2)
  export RCLONE_CONFIG_SFTP_TYPE=sftp RCLONE_CONFIG_SFTP_HOST=127.0.0.1 RCLONE_CONFIG_SFTP_PORT=$sftp_port
  export RCLONE_CONFIG_SFTP_USER=$USER RCLONE_CONFIG_SFTP_KEY_FILE=$dir/user RCLONE_CONFIG_SFTP_SHELL_TYPE=unix
  export RCLONE_CONFIG_SFTP_DISABLE_HASHCHECK=true # it would start a program on the server for each file
  ssh="ssh -a -x -i $dir/user -o UserKnownHostsFile=$dir/known -o LogLevel=ERROR"
}

# start_ftp starts a vsftpd that lets everybody read and write below $root/ftp.
start_ftp() {
  mkdir -p "$root/ftp/files"
  chmod 755 "$root" "$root/ftp"
  chmod 777 "$root/ftp/files"
  cat >"$root/vsftpd.conf" <<END
listen=YES
listen_address=127.0.0.1
listen_port=$ftp_port
background=NO
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
anon_root=$root/ftp
mdtm_write=YES
seccomp_sandbox=NO
secure_chroot_dir=$root/ftp
xferlog_enable=NO
END
  /usr/sbin/vsftpd "$root/vsftpd.conf" 2>"$root/logs/vsftpd" &
  servers+=($!)
  listening "$ftp_port" vsftpd
  export RCLONE_CONFIG_FTP_TYPE=ftp RCLONE_CONFIG_FTP_HOST=127.0.0.1 RCLONE_CONFIG_FTP_PORT=$ftp_port RCLONE_CONFIG_FTP_USER=anonymous
  RCLONE_CONFIG_FTP_PASS=$(rclone obscure anonymous)
  export RCLONE_CONFIG_FTP_PASS
}

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
  "$bin/measure" "$line" "$workload	$program" timeout 300 "$@" >"$root/logs/$workload.$program" 2>&1
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
mc() { timed "$1" mc "$2" "$3" "$bin/mc" mirror --quiet "$4" "$5"; }
rc() {
  local workload=$1 checked=$2 name=$3
  shift 3
  timed "$workload" rclone "$checked" "$name" rclone copy -q --transfers 32 --checkers 32 --fast-list "$@"
}

pull() { # WORKLOAD NAME
  new_folder; timed "$1" limit "$dest/files" "$2" "$bin/limit" get "$data/$2" "$2" "$dest/files"
  new_folder; timed "$1" ours "$dest/files" "$2" "$bin/ours" pull "s3://$2" "$dest/files"
  new_folder; s5 "$1" "$dest/files" "$2" "s3://$2/*" "$dest/files/"
  new_folder; mc "$1" "$dest/files" "$2" "bench/$2" "$dest/files"
  new_folder; rc "$1" "$dest/files" "$2" --ignore-checksum --multi-thread-streams 4 "s3:$2" "$dest/files"
}

push() { # WORKLOAD NAME
  new_push "$2"; timed "$1" limit "$served/push" "$2" "$bin/limit" put "$dest/files" push
  new_push "$2"; timed "$1" ours "$served/push" "$2" "$bin/ours" push "$dest/files" s3://push
  new_push "$2"; s5 "$1" "$served/push" "$2" "$dest/files/*" s3://push/
  new_push "$2"; mc "$1" "$served/push" "$2" "$dest/files" bench/push
  new_push "$2"; rc "$1" "$served/push" "$2" --s3-no-head --s3-no-check-bucket --s3-chunk-size 16M \
    --s3-upload-concurrency 8 "$dest/files" s3:push
}

copy() { # WORKLOAD NAME
  new_folder; timed "$1" limit "$dest/files" "$2" cp -r "$data/$2/." "$dest/files"
  new_folder; timed "$1" ours "$dest/files" "$2" "$bin/ours" pull "$data/$2" "$dest/files"
  new_folder; rc "$1" "$dest/files" "$2" "$data/$2" "$dest/files"
}

# noop: nothing to do. Ours and the peers' have their own copy, which a first pull made.
noop() { # WORKLOAD NAME
  local kept=$root/kept-$2
  if [ ! -d "$kept" ]; then
    mkdir -p "$kept/ours" "$kept/theirs"
    "$bin/ours" pull "s3://$2" "$kept/ours/files" >/dev/null
    cp -r "$data/$2" "$kept/theirs/files" # newer than what is stored, as a plain download leaves it
    sleep 2                               # so that what was just written counts as settled
    "$bin/ours" pull "s3://$2" "$kept/ours/files" >/dev/null
  fi
  timed "$1" limit "$kept/theirs/files" "$2" "$bin/limit" list "$2"
  timed "$1" ours "$kept/ours/files" "$2" "$bin/ours" pull "s3://$2" "$kept/ours/files"
  timed "$1" s5cmd "$kept/theirs/files" "$2" "$bin/s5cmd" --log error --endpoint-url "$S3_ENDPOINT" sync "s3://$2/*" "$kept/theirs/files/"
  mc "$1" "$kept/theirs/files" "$2" "bench/$2" "$kept/theirs/files"
  timed "$1" rclone "$kept/theirs/files" "$2" rclone copy -q --checkers 32 --fast-list --update --use-server-modtime "s3:$2" "$kept/theirs/files"
}

sftp_pull() { # WORKLOAD NAME
  local from=$data/$2
  new_folder; timed "$1" limit "$dest/files" "$2" bash -c "$ssh -p $sftp_port $USER@127.0.0.1 tar -C $from -cf - . | tar -C $dest/files -xf -"
  new_folder; timed "$1" ours "$dest/files" "$2" "$bin/ours" pull "sftp://$USER@127.0.0.1:$sftp_port$from" "$dest/files"
  new_folder; timed "$1" lftp-8 "$dest/files" "$2" lftp -e "set sftp:connect-program '$ssh'; set net:connection-limit 0; mirror --parallel=8 $from $dest/files; bye" -p "$sftp_port" -u "$USER," sftp://127.0.0.1
  new_folder; timed "$1" lftp-16 "$dest/files" "$2" lftp -e "set sftp:connect-program '$ssh'; set net:connection-limit 0; mirror --parallel=16 $from $dest/files; bye" -p "$sftp_port" -u "$USER," sftp://127.0.0.1
  new_folder; timed "$1" openssh "$dest/files" "$2" bash -c "cd $dest && rmdir files && sftp -q -r -P $sftp_port -i $SFTP_KEY -o UserKnownHostsFile=$root/sshd/known $USER@127.0.0.1:$from files"
  new_folder; rc "$1" "$dest/files" "$2" "sftp:$from" "$dest/files"
}

sftp_push() { # WORKLOAD NAME
  local to=$root/sftp-push
  for program in ours lftp-16 openssh rclone; do
    rm -rf "$to" && mkdir -p "$to" && new_folder && rmdir "$dest/files" && cp -al "$data/$2" "$dest/files"
    case $program in
      ours) timed "$1" ours "$to" "$2" "$bin/ours" push "$dest/files" "sftp://$USER@127.0.0.1:$sftp_port$to" ;;
      lftp-16) timed "$1" lftp-16 "$to" "$2" lftp -e "set sftp:connect-program '$ssh'; set net:connection-limit 0; mirror -R --parallel=16 $dest/files $to; bye" -p "$sftp_port" -u "$USER," sftp://127.0.0.1 ;;
      openssh) timed "$1" openssh "$to" "$2" bash -c "cd $dest/files && echo 'put -r .' | sftp -q -b - -P $sftp_port -i $SFTP_KEY -o UserKnownHostsFile=$root/sshd/known $USER@127.0.0.1:$to" ;;
      rclone) rc "$1" "$to" "$2" "$dest/files" "sftp:$to" ;;
    esac
  done
}

ftp_pull() { # WORKLOAD NAME
  local from=/files/$2
  [ -d "$root/ftp$from" ] || { cp -a "$data/$2" "$root/ftp$from" && chmod -R a+rX "$root/ftp$from"; }
  new_folder; timed "$1" ours "$dest/files" "$2" "$bin/ours" pull "ftp://127.0.0.1:$ftp_port$from" "$dest/files"
  new_folder; timed "$1" lftp-8 "$dest/files" "$2" lftp -e "set net:connection-limit 0; set ftp:ssl-allow no; mirror --parallel=8 $from $dest/files; bye" -p "$ftp_port" 127.0.0.1
  new_folder; timed "$1" lftp-16 "$dest/files" "$2" lftp -e "set net:connection-limit 0; set ftp:ssl-allow no; mirror --parallel=16 $from $dest/files; bye" -p "$ftp_port" 127.0.0.1
  new_folder; rc "$1" "$dest/files" "$2" "ftp:$from" "$dest/files"
}

ftp_push() { # WORKLOAD NAME
  local to=/files/push
  for program in ours lftp-16 rclone; do
    rm -rf "$root/ftp$to" && mkdir -m 777 "$root/ftp$to" && new_folder && rmdir "$dest/files" && cp -al "$data/$2" "$dest/files"
    case $program in
      ours) timed "$1" ours "$root/ftp$to" "$2" "$bin/ours" push "$dest/files" "ftp://127.0.0.1:$ftp_port$to" ;;
      lftp-16) timed "$1" lftp-16 "$root/ftp$to" "$2" lftp -e "set net:connection-limit 0; set ftp:ssl-allow no; mirror -R --parallel=16 $dest/files $to; bye" -p "$ftp_port" 127.0.0.1 ;;
      rclone) rc "$1" "$root/ftp$to" "$2" "$dest/files" "ftp:$to" ;;
    esac
  done
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
[ $# -gt 0 ] || set -- pull-small push-small pull-mixed push-mixed pull-large push-large noop-20k noop-100k \
  sftp-few sftp-two sftp-push-few sftp-push-two ftp-few ftp-two ftp-push-few ftp-push-two local-small local-large
export USER=${USER:-$(id -un)}
build
trap stop_servers EXIT
start_server
[[ "$*" != *sftp* ]] || start_sftp
[[ " $*" != *" ftp-"* ]] || start_ftp
: >"$results"
loaded=
for workload; do
  name=${workload##*-}
  case $name in
    small) make_data small "$small_files" "$small_bytes" ;;
    large) make_data large "$large_files" "$large_bytes" ;;
    mixed) make_data mixed 1000 1048576 ;;
    20k) make_data 20k 20000 1024 ;;
    100k) make_data 100k 100000 1024 ;;
    few) make_data few 2000 10240 ;;
    two) make_data two 2 268435456 ;;
    *) echo "run.sh: unknown workload $workload" >&2; exit 2 ;;
  esac
  case $workload in pull-* | noop-*)
    [[ " $loaded " == *" $name "* ]] || load "$name"
    loaded="$loaded $name"
    ;;
  esac
done
# Round by round, so that a change of the machine's mood meets all of them.
for ((run = 0; run < runs; run++)); do
  for workload; do
    name=${workload##*-}
    case $workload in
      pull-*) pull "$workload" "$name" ;;
      push-*) push "$workload" "$name" ;;
      noop-*) noop "$workload" "$name" ;;
      sftp-push-*) sftp_push "$workload" "$name" ;;
      sftp-*) sftp_pull "$workload" "$name" ;;
      ftp-push-*) ftp_push "$workload" "$name" ;;
      ftp-*) ftp_pull "$workload" "$name" ;;
      local-*) copy "$workload" "$name" ;;
      *) echo "run.sh: unknown workload $workload" >&2; exit 2 ;;
    esac
  done
done
echo
report
