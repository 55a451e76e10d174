package d6tpipe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go"
)

// The main job: register where data lies, push, and pull it somewhere else.
func Example() {
	ctx := context.Background()
	home, err := os.MkdirTemp("", "d6tpipe-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)

	// A profile in local mode: the catalogue is a JSON file, no server is needed.
	cfg, err := d6tpipe.InitConfig(ctx, "default", d6tpipe.InitOptions{
		File: filepath.Join(home, "cfg.json"), Settings: d6tpipe.ConfigSettings{FileRepo: filepath.Join(home, "files")}})
	if err != nil {
		log.Fatal(err)
	}
	api, err := d6tpipe.NewAPILocal(cfg)
	if err != nil {
		log.Fatal(err)
	}

	// Where the data lies, and which files belong together.
	warehouse := filepath.Join(home, "warehouse")
	if err := os.Mkdir(warehouse, 0o755); err != nil {
		log.Fatal(err)
	}
	if _, err := api.Remotes().Create(ctx, d6tpipe.RemoteSettings{
		Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: warehouse}); err != nil {
		log.Fatal(err)
	}
	if _, err := api.Pipes().Upsert(ctx, d6tpipe.PipeSettings{
		Name: "sales", Remote: "warehouse",
		Options: d6tpipe.PipeOptions{Dir: "sales", Include: "*.csv"}}); err != nil {
		log.Fatal(err)
	}

	// Somebody put a file there; pull it.
	if err := os.Mkdir(filepath.Join(warehouse, "sales"), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(warehouse, "sales", "2026-11.csv"), []byte("day,amount\n1,20\n"), 0o644); err != nil {
		log.Fatal(err)
	}
	pipe, err := d6tpipe.OpenPipe(ctx, api, "sales", d6tpipe.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	report, err := pipe.Pull(ctx, d6tpipe.PullOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("pulled %d file, %d bytes\n", report.Moved, report.Bytes)

	// Edit it, add another, push.
	if err := os.WriteFile(filepath.Join(pipe.Dir(), "2026-12.csv"), []byte("day,amount\n"), 0o644); err != nil {
		log.Fatal(err)
	}
	plan, err := pipe.PlanPush(ctx, d6tpipe.PushOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range plan.Steps {
		fmt.Println(step.Action, step.Key, "because it is", step.Reason)
	}
	if _, err := pipe.Push(ctx, d6tpipe.PushOptions{}); err != nil {
		log.Fatal(err)
	}
	files, err := pipe.Files(ctx, d6tpipe.ListOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(f.Key, f.Size)
	}
	// Output:
	// pulled 1 file, 16 bytes
	// upload 2026-12.csv because it is new
	// 2026-11.csv 16
	// 2026-12.csv 11
}

// Errors have kinds; nobody needs to read their text.
func ExampleError() {
	cfg := d6tpipe.Config{Profile: "default", Catalog: filepath.Join(os.TempDir(), "no-such-catalogue.json")}
	api, err := d6tpipe.NewAPILocal(cfg)
	if err != nil {
		log.Fatal(err)
	}
	_, err = api.Pipes().Get(context.Background(), "sales")
	fmt.Println(errors.Is(err, d6tpipe.ErrNotFound))

	_, err = api.Pipes().Create(context.Background(), d6tpipe.PipeSettings{Name: "two words"})
	var field *d6tpipe.FieldError
	if errors.As(err, &field) {
		fmt.Println(field.Field, "-", field.Reason)
	}
	// Output:
	// true
	// name - Only alphanumeric characters and hyphens are allowed.
}

// Credentials never print.
func ExampleCredentials() {
	remote := d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "bucket",
		ReadCredentials: d6tpipe.Credentials{"aws_access_key_id": "AAA", "aws_secret_access_key": "BBB"}}
	fmt.Println(remote.ReadCredentials)
	fmt.Println(remote.ReadCredentials.For(d6tpipe.RoleRead).Value("aws_secret_access_key"))
	// Output:
	// map[aws_access_key_id:*** aws_secret_access_key:***]
	// ***
}

// A receiver of webhooks checks the signature before it believes anything, and
// processes each message once.
func ExampleVerifyWebhook() {
	secrets := []d6tpipe.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} // from where the program keeps its secrets
	clock := func() time.Time { return time.Unix(1795687200, 0) }         // time.Now
	done := map[string]bool{}                                             // a table of the database
	receiver := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		event, err := d6tpipe.VerifyWebhook(secrets, r.Header, body, clock())
		if err != nil {
			http.Error(w, "not verified", http.StatusUnauthorized)
			return
		}
		if done[event.ID] || event.Type != d6tpipe.WebhookPipeChanged {
			return // 200: it has arrived
		}
		changed, err := event.Changed()
		if err != nil {
			http.Error(w, "not understood", http.StatusBadRequest)
			return
		}
		for _, c := range changed.Changes {
			fmt.Println(changed.Pipe, c.Kind, c.Key)
		}
		done[event.ID] = true
	})

	for range 2 { // the answer to the first was lost
		request := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(
			`{"type":"pipe.changed","timestamp":"2026-11-26T10:00:00Z","data":{"pipe":"sales","changes":[{"key":"2026-11.csv","kind":"new","file":{"key":"2026-11.csv","size":12}}],"total":1,"more":false,"cursor":"1-x-1-0-1"}}`))
		request.Header.Set("webhook-id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W")
		request.Header.Set("webhook-timestamp", "1795687200")
		request.Header.Set("webhook-signature", "v1,RJSRmMXubD0WBxEITMzEMwQrGeOO53qEdiPlsum+Hqs=")
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, request)
		fmt.Println(answer.Code)
	}
	// Output:
	// sales new 2026-11.csv
	// 200
	// 200
}
