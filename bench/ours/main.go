// Command ours is this project's SDK as the benchmarks see it: a pull or a push of
// a whole folder, with everything on that users have.
//
//	ours pull URL DIR     ours push DIR URL
//
// URL is s3://BUCKET on the server $S3_ENDPOINT, with the keys $AWS_ACCESS_KEY_ID and
// $AWS_SECRET_ACCESS_KEY; sftp://USER@HOST:PORT/FOLDER with the private key in the file
// $SFTP_KEY and the host key's fingerprint $SFTP_FINGERPRINT; ftp://HOST:PORT/FOLDER; or
// a folder. What we remember of a sync lies beside DIR.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/d6t/d6tpipe-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ours:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 || args[0] != "pull" && args[0] != "push" {
		return errors.New("usage: ours pull URL DIR | push DIR URL")
	}
	place, dir := args[1], args[2]
	if args[0] == "push" {
		place, dir = dir, place
	}
	pipe, err := open(ctx, place, dir)
	if err != nil {
		return err
	}
	if args[0] == "push" {
		_, err = pipe.Push(ctx, d6tpipe.PushOptions{})
	} else {
		_, err = pipe.Pull(ctx, d6tpipe.PullOptions{})
	}
	return err
}

// open makes a profile whose file repo is the folder above dir, and in it a pipe
// with dir's name.
func open(ctx context.Context, place, dir string) (*d6tpipe.Pipe, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	repo, name := filepath.Split(dir)
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{
		Profile: "bench", FileRepo: filepath.Clean(repo), Catalog: filepath.Join(repo, "catalog.json")})
	if err != nil {
		return nil, err
	}
	remote, err := remoteAt(place)
	if err != nil {
		return nil, err
	}
	if _, err := api.Remotes().Upsert(ctx, remote); err != nil {
		return nil, err
	}
	if _, err := api.Pipes().Upsert(ctx, d6tpipe.PipeSettings{Name: name, Remote: remote.Name}); err != nil {
		return nil, err
	}
	return d6tpipe.OpenPipe(ctx, api, name, d6tpipe.OpenOptions{})
}

func remoteAt(place string) (d6tpipe.RemoteSettings, error) {
	bucket, ok := strings.CutPrefix(place, "s3://")
	if u, err := url.Parse(place); !ok && err == nil && u.Scheme != "" {
		return serverAt(u)
	}
	if !ok {
		folder, err := filepath.Abs(place)
		return d6tpipe.RemoteSettings{Name: "bench", Protocol: d6tpipe.ProtocolDir, Location: folder}, err
	}
	settings, err := json.Marshal(map[string]any{
		"endpoint_url": os.Getenv("S3_ENDPOINT"), "region_name": "us-east-1", "path_style": true})
	keys := d6tpipe.Credentials{
		"aws_access_key_id":     os.Getenv("AWS_ACCESS_KEY_ID"),
		"aws_secret_access_key": os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}
	return d6tpipe.RemoteSettings{Name: "bench", Protocol: d6tpipe.ProtocolS3, Location: bucket,
		Settings: settings, ReadCredentials: keys, WriteCredentials: keys}, err
}

// serverAt is a folder on a server for files.
func serverAt(u *url.URL) (d6tpipe.RemoteSettings, error) {
	set := map[string]any{"dir": u.Path}
	keys := d6tpipe.Credentials{}
	if u.Scheme == "sftp" {
		key, err := os.ReadFile(os.Getenv("SFTP_KEY"))
		if err != nil {
			return d6tpipe.RemoteSettings{}, err
		}
		set["fingerprint"] = os.Getenv("SFTP_FINGERPRINT")
		keys["username"], keys["private_key"] = u.User.Username(), string(key)
	}
	settings, err := json.Marshal(set)
	return d6tpipe.RemoteSettings{Name: "bench", Protocol: d6tpipe.Protocol(u.Scheme), Location: u.Host,
		Settings: settings, ReadCredentials: keys, WriteCredentials: keys}, err
}
