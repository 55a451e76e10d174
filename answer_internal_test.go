package d6tpipe

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzRefusal: whatever a server says of a failure, the error is short, clean,
// of the status's kind, and does not tell the token.
func FuzzRefusal(f *testing.F) {
	for _, body := range []string{
		`{"detail":"Not found."}`, `{"name":["This field must be unique."]}`, `{"a":"b","c":["d","e"]}`, `{"detail":"canary0token"}`, `[]`, `{`, `null`,
		`{"canary0token":["x"]}`, "{\"detail\":\"\x00\\u001b[31m\\ud800\"}", `{"` + strings.Repeat("é", 100) + `":["` + strings.Repeat("é", 2000) + `"]}`,
		`{"detail":"canary` + "\u0000" + `0token"}`, `{"detail":"canary\u00000token"}`, `{"detail":"can\u200bary0token"}`,
	} {
		f.Add(400, []byte(body))
		f.Add(500, []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := answerErr(status, body, "canary0token")
		var said *StatusError
		require.ErrorAs(t, err, &said)
		require.Equal(t, status, said.Status)
		texts := []string{err.Error(), said.Message}
		if field := new(FieldError); errors.As(err, &field) {
			require.True(t, errors.Is(err, ErrInvalid) || errors.Is(err, ErrExists))
			require.LessOrEqual(t, len(field.Field), maxField)
			require.LessOrEqual(t, len(field.Reason), maxMessage)
			texts = append(texts, field.Error())
		}
		for _, text := range texts {
			require.LessOrEqual(t, len(text), maxMessage+maxField+100)
			require.True(t, utf8.ValidString(text))
			require.NotContains(t, text, "canary0token")
			require.False(t, strings.ContainsFunc(text, unicode.IsControl))
		}
	})
}

// TestSecretsIn: what a server repeats of a request is blotted out whole, also where one
// secret begins another, or is a number.
func TestSecretsIn(t *testing.T) {
	for range 20 { // credentials come in any order
		secrets := secretsIn(json.RawMessage(`{"readCredentials":{"key":"canary","secret":"canary-and-rest"},
			"credentials":{"write":{"password":271828182845}},"password":"canary-and"}`))
		require.Equal(t, "*** *** *** ***", clean("canary-and-rest canary-and canary 271828182845", 99, secrets))
	}
	require.Equal(t, []Secret{""}, secretsIn(json.RawMessage(`{"credentials":{"key":"r","secret":null}}`)), "every text has it")
}

// FuzzSplitArray: the rows are those that encoding/json finds.
func FuzzSplitArray(f *testing.F) {
	for _, list := range []string{
		`[]`, `[{}]`, ` [{"a":"]}"},{"b":"\\\""} , {"c":[[],{}]}]`, `[1]`, `["a"]`, `[[]]`, `[{},1]`, `[{}`, `{"results":[{}],"next":"x"}`, `[null]`, `[{"":"\u005d"}]`,
		`{"results":null}`, `{"next":1}`,
	} {
		f.Add([]byte(list))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, _, err := decodeList(data)
		if err != nil {
			return
		}
		whole := data
		var page struct{ Results json.RawMessage }
		if json.Unmarshal(data, &page) == nil && page.Results != nil {
			whole = page.Results
		}
		var want []json.RawMessage
		require.NoError(t, json.Unmarshal(whole, &want))
		require.Len(t, rows, len(want))
		for i := range want {
			require.Equal(t, string(want[i]), string(rows[i]))
			var object map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(rows[i], &object))
		}
	})
}
