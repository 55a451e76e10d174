#!/usr/bin/env bash
# Make the archives of a release: the program for six systems, each with its manual pages, completions and licences, an
# SBOM (CycloneDX) for each, and their sums.
#
#   ./release.sh           into ./dist, which is made anew
#   ./release.sh FOLDER    into another folder, which must not be there
#
# The version is git's: the tag cmd/d6tpipe/vX.Y.Z on the commit, or what Go makes of a commit without one. What is not
# committed is no release. The same commit and the same Go make the same bytes. It needs bash, git and Go.
set -euo pipefail
cd "$(dirname "$0")"

case ${1:-} in
  -*) sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$0"; [ "$1" = --help ] || [ "$1" = -h ] || exit 2; exit ;;
esac
dist=${1:-dist}
[ -z "${1:-}" ] || [ ! -e "$dist" ] || { echo "release.sh: $dist is there already" >&2; exit 2; }
[ -z "$(git status --porcelain)" ] || { echo "release.sh: commit or remove first:" >&2; git status --short >&2; exit 1; }

# The most that a program may weigh, in bytes. When it is over, `go build -ldflags=-dumpdep ./cmd/d6tpipe 2>&1 | grep
# ReflectMethod` tells whether something calls methods by name, as text/template does: then the linker keeps them all.
limit=45000000
# What the storage server brings along and we hardly call: there the compiler need not make copies of small functions, which
# saves 2% of the program. ./test.sh reads both.
lean='github.com/aws github.com/segmentio github.com/rabbitmq github.com/nats-io github.com/DataDog github.com/go-ldap github.com/hashicorp'
systems='linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64'

unset GOFLAGS "${!GOEXPERIMENT@}"
export GOFLAGS='' GOWORK="$PWD/go.work" CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 LC_ALL=C TZ=UTC
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/dist" "$tmp/common"

# compile GOOS/GOARCH FILE
compile() {
  local path flags=()
  for path in $lean; do flags+=("-gcflags=$path/...=-l"); done
  GOOS=${1%/*} GOARCH=${1#*/} go build -buildvcs=true -trimpath -ldflags='-s -w' "${flags[@]}" -o "$2" ./cmd/d6tpipe
}

# licences FOLDER copies the terms of everything that is in the program.
licences() {
  local path dir file
  mkdir -p "$1/go"
  cp "$(go env GOROOT)/LICENSE" "$1/go/"
  go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/d6tpipe | sort -u | while read -r path dir; do
    mkdir -p "$1/$path"
    for file in "$dir"/*LICEN[CS]E* "$dir"/COPYING* "$dir"/NOTICE*; do
      [ ! -f "$file" ] || install -m 0644 "$file" "$1/$path/"
    done
    [ -n "$(ls "$1/$path")" ] || { echo "release.sh: no licence found of $path" >&2; return 1; }
  done
}

# --- what is the same in all archives ---
host=$(GOWORK=off go env GOHOSTOS)/$(GOWORK=off go env GOHOSTARCH)
echo "program for $host"
compile "$host" "$tmp/d6tpipe"
version=$("$tmp/d6tpipe" version --json | sed -n 's/^ *"version": "\([^"]*\)".*/\1/p')
version=${version%+dirty}
case $version in v*) ;; *) echo "release.sh: the program does not know its version, but says ${version:-nothing}" >&2; exit 1 ;; esac
cp README.md LICENSE CHANGELOG.md "$tmp/common/"
"$tmp/d6tpipe" man "$tmp/common/man"
mkdir "$tmp/common/completions"
for shell in bash zsh fish powershell; do
  "$tmp/d6tpipe" completion "$shell" >"$tmp/common/completions/d6tpipe.$shell"
done
for tool in archive sbom; do
  case $tool in archive) package=./archive dir=tools ;; sbom) package=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod dir=tools/sbom ;; esac
  GOWORK=off go -C "$dir" build -trimpath -buildvcs=false -o "$tmp/$tool" "$package"
done

# --- an archive for each system ---
for system in $systems; do
  name=d6tpipe_${version}_${system/\//_} program=d6tpipe suffix=.tar.gz
  case $system in windows/*) program=d6tpipe.exe suffix=.zip ;; esac
  cp -R "$tmp/common" "$tmp/$name"
  compile "$system" "$tmp/$name/$program"
  bytes=$(wc -c <"$tmp/$name/$program")
  [ "$bytes" -le "$limit" ] || { echo "release.sh: $system: the program has $bytes bytes, more than $limit" >&2; exit 1; }
  GOOS=${system%/*} GOARCH=${system#*/} licences "$tmp/$name/licences"
  "$tmp/sbom" bin -json -noserial -notimestamp -std -version "$version" -output "$tmp/dist/$name.cdx.json" "$tmp/$name/$program"
  "$tmp/archive" "$tmp/dist/$name$suffix" "$tmp/$name"
  rm -r "${tmp:?}/$name"
  echo "$name$suffix, a program of $bytes bytes"
done

cd "$tmp/dist"
if command -v sha256sum >/dev/null; then sha256sum -- * >SHA256SUMS; else shasum -a 256 -- * >SHA256SUMS; fi
cd "$OLDPWD"
[ -n "${1:-}" ] || rm -rf dist
mv "$tmp/dist" "$dist"
echo "all in $dist"
