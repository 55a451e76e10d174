#!/usr/bin/env bash
# Check everything that a change must keep: format, modules, vet, lint, tests, fuzzing, examples, other systems.
#
#   ./test.sh            all of it, about twenty minutes on two cores
#   ./test.sh --quick    go vet and the tests only
#   ./test.sh --proof    all of it, with the full counts of the long loops and more fuzzing: about three hours on two cores
#
# It needs bash and Go. What a few tests want besides, it installs with apt-get when it may (as root or with a sudo that
# asks no password); otherwise these tests are skipped, and named at the end. With CI=true such a skip is a failure.
#
#   D6TPIPE_NO_APT=1       install nothing
#   D6TPIPE_FUZZTIME=5s    time for each fuzz target

# shellcheck disable=SC2317 # step and each call the functions, which shellcheck does not see
set -euo pipefail
cd "$(dirname "$0")"
exec </dev/null

fuzztime=5s timeout=25m quick=
case ${1:-} in
  '') ;;
  --quick) quick=1 ;;
  --proof) export D6TPIPE_PROOF=1; fuzztime=30s timeout=5h ;; # a package; internal/transfer takes most of it
  --help | -h) sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$0"; exit ;;
  *) echo "test.sh: unknown argument $1; see ./test.sh --help" >&2; exit 2 ;;
esac
fuzztime=${D6TPIPE_FUZZTIME:-$fuzztime}

# The settings of whoever runs this are not the tests' business.
unset D6TPIPE_CONFIG D6TPIPE_PROFILE D6TPIPE_SERVER D6TPIPE_TOKEN "${!D6TPIPE_SERVE_@}"
export LC_ALL=C
# Else each program that is built with the race detector sleeps for a second when it ends.
export GORACE=atexit_sleep_ms=0

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/bin"
: >"$tmp/skipped"
: >"$tmp/steps"
failed=0

# step NAME COMMAND... runs a command, and the next one whatever comes of it.
step() {
  local name=$1 start=$SECONDS rc
  shift
  printf '\n== %s\n' "$name"
  set +e
  (set -e; "$@")
  rc=$?
  set -e
  local word=ok
  [ "$rc" = 0 ] || { word=FAIL; failed=1; }
  printf '%-5s %3d:%02d  %s\n' "$word" $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)) "$name" | tee -a "$tmp/steps"
}

# skip WHAT WHY names what was not checked.
skip() {
  printf '%s: %s\n' "$1" "$2" | tee -a "$tmp/skipped"
}

# within SECONDS COMMAND... ends a command that hangs, where the system can.
within() {
  if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi
}

has_cc() { [ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null; }

# --- what is needed ----------------------------------------------------------------------------------------------

require_go() {
  command -v go >/dev/null || { echo "test.sh: Go is missing; get 1.26.5 or newer from https://go.dev/dl/" >&2; exit 1; }
  local version major minor patch
  version=$(go env GOVERSION)
  IFS=. read -r major minor patch <<<"${version#go}"
  minor=${minor%%[!0-9]*} patch=${patch%%[!0-9]*}
  if ((major * 1000000 + ${minor:-0} * 1000 + ${patch:-0} < 1026005)); then
    echo "test.sh: Go 1.26.5 or newer is needed, this is $version: os.Root of older ones follows links out of its folder" >&2
    exit 1
  fi
  echo "$version $(go env GOOS)/$(go env GOARCH)"
}

# install_packages gets what some tests want. To fail is no error: they are skipped then.
install_packages() {
  local want=()
  command -v gnome-keyring-daemon >/dev/null || want+=(gnome-keyring)
  command -v dbus-run-session >/dev/null || want+=(dbus)
  command -v strace >/dev/null || want+=(strace)
  command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || want+=(openssh-server)
  [ -x /usr/sbin/vsftpd ] || want+=(vsftpd)
  has_cc || want+=(gcc libc6-dev)
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || want+=(postgresql)
  command -v aws >/dev/null || want+=(awscli)
  python3 -c 'import boto3' 2>/dev/null || want+=(python3-boto3)
  [ ${#want[@]} -gt 0 ] || return 0
  local as=()
  [ "$(id -u)" = 0 ] || as=(sudo -n)
  if [ -n "${D6TPIPE_NO_APT:-}" ] || ! command -v apt-get >/dev/null || ! "${as[@]}" true 2>/dev/null; then
    echo "missing, and not to be installed: ${want[*]}"
    return 0
  fi
  echo "installing ${want[*]}"
  "${as[@]}" apt-get -qq update >"$tmp/apt.log" 2>&1 || true
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "${want[@]}" >>"$tmp/apt.log" 2>&1 || tail -n 5 "$tmp/apt.log"
}

# --- the checks --------------------------------------------------------------------------------------------------

# modules KIND lists the folders that hold a go.mod: "all", "code" without those that only pin programs, "product" what
# users get.
modules() {
  local m
  find . -name go.mod -not -path './.*' -not -path '*/testdata/*' | sed 's#/go.mod$##' | sort | while read -r m; do
    case $1:$m in
      product:./tools* | product:./bench*) ;;
      code:*) [ -z "$(find "$m" -name '*.go' -print -quit)" ] || echo "$m" ;;
      *) echo "$m" ;;
    esac
  done
}

# workspace MODULE says how Go finds what a module requires: by go.work for those that need the root as it lies here,
# and by its own go.mod alone for the others: so do the users of the root, and so do tools and bench stay out of it.
workspace() {
  case $1 in
    ./server* | ./cmd/*) echo "$PWD/go.work" ;;
    *) echo off ;;
  esac
}

# each KIND COMMAND... runs a command in each module of a kind, and goes on after a failure.
each() {
  local kind=$1 rc=0 m
  shift
  for m in $(modules "$kind"); do
    echo "-- $m: $*"
    (export GOWORK && GOWORK=$(workspace "$m") && cd "$m" && "$@") || rc=1
  done
  return "$rc"
}

# check_tidy asks whether go.mod is as it should be. A module that requires the root, which is not published, is asked by
# a copy of its go.mod that says where the root lies; in go.mod itself it would break `go install`.
check_tidy() {
  if [ "$GOWORK" = off ]; then
    go mod tidy -diff
    return
  fi
  local top=${GOWORK%/go.work} copy=$tmp/tidy
  cp go.mod "$copy.mod"
  cp go.sum "$copy.sum"
  GOWORK=off go mod edit -replace "github.com/d6t/d6tpipe-go=$top" -replace "github.com/d6t/d6tpipe-go/server=$top/server" "$copy.mod"
  GOWORK=off go mod tidy -diff -modfile="$copy.mod"
}

check_format() {
  local found
  found=$(find . -name '*.go' -not -path './.*' -not -path '*/testdata/*' -exec "$(go env GOROOT)/bin/gofmt" -l {} +)
  [ -z "$found" ] || { echo "gofmt would change:"; echo "$found"; return 1; }
}

# run_tests runs the tests of packages; testlog shows what failed and collects what was skipped.
run_tests() {
  # modernc.org is C in Go's clothes: to look at each of its pointers takes a third of the time of what uses SQLite.
  local race=(-race '-gcflags=modernc.org/...=-d=checkptr=0')
  has_cc || race=(-race=false)
  echo "-- go test $*"
  go test -json "${race[@]}" -shuffle=on -count=1 -timeout="$timeout" "$@" 2>&1 | "$tmp/bin/testlog" -skipped "$tmp/skipped"
}

# check_tests runs the tests of each module; those of the workspace at once, so that the packages of one run while the
# slowest of another waits. The packages that take longest are named first: begun last, each would run alone at the end.
check_tests() {
  local rc=0 m first together=(./server/internal/repo ./server ./cmd/d6tpipe)
  has_cc || skip "race detector" "needs apt package: gcc"
  GOWORK=off go -C tools build -o "$tmp/bin/testlog" ./testlog
  for m in $(modules code); do
    if [ "$(workspace "$m")" = off ]; then
      first=()
      [ "$m" != . ] || first=(./internal/transfer .)
      (export GOWORK=off && cd "$m" && echo "-- $m" && run_tests "${first[@]}" ./...) || rc=1
    else
      together+=("$m/...")
    fi
  done
  (export GOWORK=$PWD/go.work && run_tests "${together[@]}") || rc=1
  return "$rc"
}

# check_other_systems compiles for each system of a release, and looks at the size of the program there. Each system is
# vetted on one processor: that asks of all packages and tests what a compiler asks. Of the other processors one is drawn;
# all of them are part of a proof, as they are of a release.
check_other_systems() {
  local rc=0 pair bytes limit path lean=() pairs=(linux/amd64 windows/amd64 darwin/arm64) others=(linux/arm64 darwin/amd64 windows/arm64)
  limit=$(sed -n 's/^limit=//p' release.sh)
  for path in $(sed -n "s/^lean='\(.*\)'/\1/p" release.sh); do lean+=("-gcflags=$path/...=-l"); done
  [ -n "${D6TPIPE_PROOF:-}" ] || others=("${others[RANDOM % ${#others[@]}]}")
  for pair in "${pairs[@]}" "${others[@]}"; do
    export GOOS=${pair%/*} GOARCH=${pair#*/} CGO_ENABLED=0
    GOWORK=$PWD/go.work go build -ldflags='-s -w' "${lean[@]}" -o "$tmp/d6tpipe" ./cmd/d6tpipe || { echo "$pair: does not compile"; rc=1; continue; }
    bytes=$(wc -c <"$tmp/d6tpipe")
    echo "$pair: the program has $bytes bytes"
    [ "$bytes" -le "$limit" ] || { echo "more than $limit; see release.sh"; rc=1; }
    case $pair in windows/amd64 | darwin/arm64) each product go vet "${lean[@]}" ./... || rc=1 ;; esac # with the flags, for what was compiled serves it too
  done
  return "$rc"
}

# check_examples runs each example offline, in a home and a temp folder of its own that must be empty afterwards.
check_examples() {
  local rc=0 main name home
  for main in examples/*/main.go; do
    [ -e "$main" ] || continue
    name=$(basename "$(dirname "$main")") home=$tmp/home-$name
    mkdir -p "$home/home" "$home/tmp"
    echo "-- $name"
    GOWORK=off go build -o "$tmp/bin/$name" "./examples/$name"
    within 300 env -i PATH="$PATH" HOME="$home/home" TMPDIR="$home/tmp" \
      GOPROXY=off HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 "$tmp/bin/$name" || rc=1
    [ -z "$(find "$home" -mindepth 2)" ] || { echo "$name left behind:"; find "$home" -mindepth 2; rc=1; }
  done
  return "$rc"
}

# fuzz PACKAGE TARGET runs a target once more when it ended without a failing input: then the fuzzer itself was late
# at its deadline.
fuzz() {
  local run=(go test -run='^$' -fuzz="^$2\$" -fuzztime="$fuzztime" "$1")
  if "${run[@]}" >"$tmp/fuzz.log" 2>&1 || { fuzzer_was_late && "${run[@]}" >"$tmp/fuzz.log" 2>&1; }; then
    tail -n 1 "$tmp/fuzz.log"
  else
    cat "$tmp/fuzz.log"
    return 1
  fi
}

fuzzer_was_late() { grep -q 'context deadline exceeded' "$tmp/fuzz.log" && ! grep -q 'Failing input' "$tmp/fuzz.log"; }

# fuzz_targets lists the targets of a module as FOLDER:NAME.
fuzz_targets() {
  local dirs dir
  dirs=$(go list -f '{{.Dir}}' ./...) || return
  while read -r dir; do
    find "$dir" -maxdepth 1 -name '*_test.go' -exec cat {} + |
      sed -n "s#^func \\(Fuzz[A-Za-z0-9_]*\\)(.*#.${dir#"$PWD"}:\\1#p"
  done <<<"$dirs"
}

fuzz_module() {
  local rc=0 targets target
  targets=$(fuzz_targets) || return
  for target in $targets; do
    echo "-- ${target/:/ }"
    fuzz "${target%:*}" "${target#*:}" || rc=1
  done
  return "$rc"
}

# tool NAME prints where the build cache has a program of tools/go.mod.
tool() { GOWORK=off go -C tools tool -n "$1"; }

golangci_lint() { "$lint" run; }

check_lint() {
  lint=$(tool golangci-lint)
  each code golangci_lint
}

# check_vulns asks for known vulnerabilities in what the product calls, where the database can be reached.
check_vulns() {
  local rc=0
  vulncheck=$(tool govulncheck)
  each product govulncheck >"$tmp/vuln.log" 2>&1 || rc=1
  if grep -q 'fetching vulnerabilities' "$tmp/vuln.log"; then
    skip govulncheck "cannot reach its database: $(sed -n 's/.*fetching vulnerabilities: //p' "$tmp/vuln.log" | head -n 1)"
    return 0
  fi
  cat "$tmp/vuln.log"
  return "$rc"
}

govulncheck() { within 300 "$vulncheck" ./...; }

# --- all of it ---------------------------------------------------------------------------------------------------

require_go
step "apt packages" install_packages
if [ -z "$quick" ]; then
  step "gofmt" check_format
  step "go mod tidy" each all check_tidy
fi
step "go vet" each code go vet ./...
step "tests" check_tests
if [ -z "$quick" ]; then
  step "examples" check_examples
  step "other systems, size of the program" check_other_systems
  step "fuzzing, $fuzztime each" each product fuzz_module
  step "golangci-lint" check_lint
  step "govulncheck" check_vulns
fi

printf '\n== summary\n'
cat "$tmp/steps"
if [ -s "$tmp/skipped" ]; then
  printf '\nskipped:\n'
  sort -u "$tmp/skipped" | sed 's/^/  /'
fi
if [ "${CI:-}" = true ] && grep -q 'needs apt package: ' "$tmp/skipped"; then
  echo "FAIL: in CI nothing may be skipped that an apt package would provide"
  failed=1
fi
[ "$failed" = 0 ] && word="all is well" || word="FAIL, see above"
printf '%s, %d:%02d\n' "$word" $((SECONDS / 60)) $((SECONDS % 60))
exit "$failed"
