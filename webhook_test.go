package d6tpipe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/webhook"
)

// message is a request to a webhook as a server makes it.
func message(t testing.TB, id string, at time.Time, body string, secrets ...d6tpipe.Secret) http.Header {
	t.Helper()
	keys := make([][]byte, len(secrets))
	for i, s := range secrets {
		var err error
		keys[i], err = webhook.ParseSecret(string(s))
		require.NoError(t, err)
	}
	return http.Header{
		"Webhook-Id": {id}, "Webhook-Timestamp": {webhook.Timestamp(at)},
		"Webhook-Signature": {webhook.Sign(id, webhook.Timestamp(at), []byte(body), keys...)},
	}
}

// TestVerifyWebhook: a message is taken within five minutes, with one of the secrets,
// and the errors tell one that is old from one that is forged.
func TestVerifyWebhook(t *testing.T) {
	old, secret := d6tpipe.Secret(webhook.NewSecret()), d6tpipe.Secret(webhook.NewSecret())
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	const body = `{"type":"pipe.changed","timestamp":"2026-11-26T11:59:58.5Z","data":{"pipe":"p","changes":[{"key":"a","kind":"new","file":{"key":"a","size":1}}],"total":2,"more":true,"cursor":"c"}}`
	good := message(t, "msg_1", now, body, secret, old)
	for _, secrets := range [][]d6tpipe.Secret{{secret}, {old}, {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", secret}} {
		e, err := d6tpipe.VerifyWebhook(secrets, good, []byte(body), now)
		require.NoError(t, err)
		require.Equal(t, "msg_1", e.ID)
		require.Equal(t, now, e.Sent)
		require.Equal(t, time.Date(2026, 11, 26, 11, 59, 58, 5e8, time.UTC), e.Timestamp)
		c, err := e.Changed()
		require.NoError(t, err)
		require.Equal(t, "p", c.Pipe)
		require.Equal(t, []string{"a", "new"}, []string{c.Changes[0].Key, string(c.Changes[0].Kind)})
		require.Equal(t, "2 true c", fmt.Sprintf("%d %t %s", c.Total, c.More, c.Cursor))
	}
	without := func(name string) http.Header { h := good.Clone(); h.Del(name); return h }
	with := func(name, value string) http.Header { h := good.Clone(); h.Set(name, value); return h }
	for what, c := range map[string]struct {
		header  http.Header
		body    string
		now     time.Time
		secrets []d6tpipe.Secret
		want    error
	}{
		"at its edge":           {good, body, now.Add(5 * time.Minute), nil, nil},
		"at its other edge":     {good, body, now.Add(-5 * time.Minute), nil, nil},
		"old":                   {good, body, now.Add(5*time.Minute + time.Second), nil, d6tpipe.ErrWebhookTime},
		"of the future":         {good, body, now.Add(-5*time.Minute - time.Second), nil, d6tpipe.ErrWebhookTime},
		"changed":               {good, body + " ", now, nil, d6tpipe.ErrWebhookForged},
		"of another id":         {with("webhook-id", "msg_2"), body, now, nil, d6tpipe.ErrWebhookForged},
		"with another time":     {with("webhook-timestamp", webhook.Timestamp(now.Add(time.Second))), body, now, nil, d6tpipe.ErrWebhookForged},
		"old and forged":        {with("webhook-timestamp", "1"), body, now, nil, d6tpipe.ErrWebhookForged},
		"by another scheme":     {with("webhook-signature", "v1a,AAAA"), body, now, nil, d6tpipe.ErrWebhookForged},
		"by somebody else":      {message(t, "msg_1", now, body, d6tpipe.Secret(webhook.NewSecret())), body, now, nil, d6tpipe.ErrWebhookForged},
		"without any secret":    {good, body, now, []d6tpipe.Secret{}, d6tpipe.ErrWebhookForged},
		"without an id":         {without("webhook-id"), body, now, nil, d6tpipe.ErrInvalid},
		"without a time":        {without("webhook-timestamp"), body, now, nil, d6tpipe.ErrInvalid},
		"without a signature":   {without("webhook-signature"), body, now, nil, d6tpipe.ErrInvalid},
		"with no time":          {with("webhook-timestamp", "now"), body, now, nil, d6tpipe.ErrInvalid},
		"with a printed secret": {good, body, now, []d6tpipe.Secret{"***"}, d6tpipe.ErrInvalid},
		"that is no JSON":       {message(t, "msg_1", now, "x", secret), "x", now, nil, d6tpipe.ErrInvalid},
	} {
		secrets := c.secrets
		if secrets == nil {
			secrets = []d6tpipe.Secret{secret}
		}
		e, err := d6tpipe.VerifyWebhook(secrets, c.header, []byte(c.body), c.now)
		if c.want == nil {
			require.NoError(t, err, what)
			continue
		}
		require.ErrorIs(t, err, c.want, what)
		for _, other := range []error{d6tpipe.ErrWebhookForged, d6tpipe.ErrWebhookTime, d6tpipe.ErrInvalid} {
			require.Equal(t, other == c.want, errors.Is(err, other), "%s: %v", what, err)
		}
		require.Zero(t, e, what)
		require.NotContains(t, err.Error(), string(secret)[6:20])
	}
	e, err := d6tpipe.VerifyWebhook([]d6tpipe.Secret{secret}, message(t, "m", now, `{"type":"webhook.test","data":{}}`, secret), []byte(`{"type":"webhook.test","data":{}}`), now)
	require.NoError(t, err)
	_, err = e.Changed()
	require.ErrorIs(t, err, d6tpipe.ErrUnsupported)
}

// FuzzVerifyWebhook: nobody without a secret gets past it.
func FuzzVerifyWebhook(f *testing.F) {
	f.Add("msg_1", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", `{}`)
	f.Add("", "-1", "v1, v1,,,= v1,====", "\xff")
	secret := d6tpipe.Secret(webhook.NewSecret())
	f.Fuzz(func(t *testing.T, id, at, signature, body string) {
		header := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {at}, "Webhook-Signature": {signature}}
		_, err := d6tpipe.VerifyWebhook([]d6tpipe.Secret{secret}, header, []byte(body), time.Unix(1614265330, 0))
		require.Error(t, err)
	})
}

// TestWebhookSettings: what cannot be meant is refused, and no refusal shows an address.
func TestWebhookSettings(t *testing.T) {
	for _, good := range []string{"https://example.com", "https://example.com:8443/a?b=c", "http://127.0.0.1:1/x", "https://[2001:db8::1]:1/", "https://xn--bcher-kva.example/%C3%BC"} {
		require.NoError(t, d6tpipe.WebhookSettings{URL: good}.Validate(), good)
	}
	for _, bad := range []string{
		"", "canary", "canary.example.com/x", "https://", "https:///canary", "https:canary", "ftp://canary/", "file:///canary", "//canary/", "https://user@canary/", "https://u:canary@h/",
		"https://canary/#x", "https://canary/#", "https://canary:0/", "https://canary:65536/", "https://canary:x/", "https://canary/\n", "https://canary/ x", "https://canär/", "https://:443/canary",
		"https://canary/" + strings.Repeat("x", 2048), "javascript:canary", "https://canary%zz/",
	} {
		err := d6tpipe.WebhookSettings{URL: bad}.Validate()
		var field *d6tpipe.FieldError
		require.ErrorAs(t, err, &field, bad)
		require.Equal(t, "url", field.Field)
		require.NotContains(t, err.Error(), "canar")
	}
	for field, s := range map[string]d6tpipe.WebhookSettings{
		"include": {Include: "\x00"}, "exclude": {Exclude: strings.Repeat("x", 5000)}, "description": {Description: "a\nb"}, "kinds": {Kinds: []d6tpipe.ChangeKind{"new", "old"}},
	} {
		s.URL = "https://example.com/"
		var wrong *d6tpipe.FieldError
		require.ErrorAs(t, s.Validate(), &wrong)
		require.Equal(t, field, wrong.Field)
	}
}

// TestWebhookCalls: each call goes to its route, and a list of deliveries is asked for
// in pages. What is no name never gets into a path.
func TestWebhookCalls(t *testing.T) {
	var asked []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		in, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+strings.TrimPrefix(r.URL.String(), "/v1/api/")+" "+string(in))
		switch {
		case strings.HasSuffix(r.URL.Path, "/deliveries/"):
			from := 0
			_, _ = fmt.Sscan(r.URL.Query().Get("before"), &from)
			var rows []d6tpipe.Delivery
			for i := from + 1; i <= min(from+100, 150); i++ {
				rows = append(rows, d6tpipe.Delivery{ID: fmt.Sprint(i), Took: d6tpipe.Interval(time.Millisecond)})
			}
			_ = json.NewEncoder(w).Encode(rows)
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/webhooks/"):
			_, _ = io.WriteString(w, `[{"id":"h1"},{"id":"h2"}]`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, `{"id":"h1","secret":"whsec_canary","took":"132ms","error":"no","status":500}`)
		}
	})
	c := dial(t, server, calm)
	hooks, err := c.Webhooks(t.Context(), "p")
	require.NoError(t, err)
	require.Len(t, hooks, 2)
	made, err := c.CreateWebhook(t.Context(), "p", d6tpipe.WebhookSettings{URL: "https://example.com/", Kinds: []d6tpipe.ChangeKind{d6tpipe.ChangeGone}})
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Secret("whsec_canary"), made.Secret)
	shown, err := json.Marshal(made)
	require.NoError(t, err)
	require.NotContains(t, string(shown)+fmt.Sprintf("%v %+v %#v", made, made, made), "canary")
	_, err = c.Webhook(t.Context(), "p", "h1")
	require.NoError(t, err)
	empty, paused := "", true
	_, err = c.UpdateWebhook(t.Context(), "p", "h1", d6tpipe.WebhookUpdate{Include: &empty, Paused: &paused, Rotate: true})
	require.NoError(t, err)
	d, err := c.TestWebhook(t.Context(), "p", "h1")
	require.NoError(t, err)
	require.Equal(t, "132ms no 500", fmt.Sprintf("%v %s %d", d.Took, d.Error, d.Status))
	require.NoError(t, c.DeleteWebhook(t.Context(), "p", "h1"))
	n := 0
	for d, err := range c.Deliveries(t.Context(), "p", "h1") {
		require.NoError(t, err)
		n++
		require.Equal(t, fmt.Sprint(n), d.ID)
	}
	require.Equal(t, 150, n)
	require.Equal(t, []string{
		"GET pipes/p/webhooks/ ", `POST pipes/p/webhooks/ {"url":"https://example.com/","kinds":["gone"]}`, "GET pipes/p/webhooks/h1/ ",
		`PATCH pipes/p/webhooks/h1/ {"include":"","paused":true,"rotate":true}`, "POST pipes/p/webhooks/h1/test/ ", "DELETE pipes/p/webhooks/h1/ ",
		"GET pipes/p/webhooks/h1/deliveries/?limit=100 ", "GET pipes/p/webhooks/h1/deliveries/?before=100&limit=100 ",
	}, asked)

	asked = nil
	for _, bad := range [][2]string{{"..", "h"}, {"p", ".."}, {"p", ""}, {"p", "a/b"}, {"", "h"}} {
		_, err := c.Webhook(t.Context(), bad[0], bad[1])
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		_, err = c.UpdateWebhook(t.Context(), bad[0], bad[1], d6tpipe.WebhookUpdate{})
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		_, err = c.TestWebhook(t.Context(), bad[0], bad[1])
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		require.ErrorIs(t, c.DeleteWebhook(t.Context(), bad[0], bad[1]), d6tpipe.ErrInvalid)
		for _, err := range c.Deliveries(t.Context(), bad[0], bad[1]) {
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		}
	}
	_, err = c.CreateWebhook(t.Context(), "p", d6tpipe.WebhookSettings{})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.Empty(t, asked)
}
