package repo

import (
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestForm: a field that is none is refused by its name, also within another one. What
// an answer has may be sent back.
func TestForm(t *testing.T) {
	read := func(in string) (text string, schedule saidSchedule, err error) {
		f := form{"text": {&text, mustText}, "schedule": {&schedule, "a schedule"}}
		err = f.answered("id").read([]byte(in), "A thing")
		return text, schedule, err
	}
	text, schedule, err := read(`{"text":"a","schedule":{"every":"5m","next":"x"},"id":7}`)
	require.NoError(t, err)
	require.Equal(t, "a 5m", text+" "+schedule.Every.String())
	_, schedule, err = read(`{"schedule":null}`)
	require.NoError(t, err)
	require.Zero(t, schedule)
	for in, field := range map[string]string{
		`{"txt":"a"}`: "txt", `{"Text":"a"}`: "Text", `{"text":1}`: "text", `{"schedule":1}`: "schedule",
		`{"schedule":{"evry":"5m"}}`: "schedule.evry", `{"schedule":{"every":5}}`: "schedule.every", `{"schedule":{"every":"1s"}}`: "schedule.every",
	} {
		_, _, err := read(in)
		var wrong *d6tpipe.FieldError
		require.ErrorAs(t, err, &wrong, in)
		require.Equal(t, field, wrong.Field, in)
	}
	_, _, err = read(`{"txt":"a"}`)
	require.EqualError(t, err, `txt: A thing has no such field; it has schedule, text.`)
	for _, in := range []string{``, `[]`, `1`} {
		_, _, err := read(in)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid, in)
	}
}
