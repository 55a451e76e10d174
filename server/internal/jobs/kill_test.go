package jobs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// envChild tells a child, another process of the test's binary, what to do: a [childConfig].
const envChild = "D6TPIPE_TEST_JOBS"

type childConfig struct {
	URL, Queue string
	Diary      string // a file
	Since      time.Time
	Lease      time.Duration
}

// diary is a file to which all processes append lines. A line that is written survives a
// kill.
type diary struct{ *os.File }

func openDiary(t testing.TB, path string) diary {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return diary{f}
}

func (d diary) line(words ...any) {
	if _, err := d.Write([]byte(fmt.Sprintln(append([]any{os.Getpid()}, words...)...))); err != nil {
		panic(err)
	}
	if err := d.Sync(); err != nil {
		panic(err)
	}
}

// work takes a while, and says so all the time.
func (d diary) work(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
	d.line("begin", job.Subject, job.RunID, job.Attempt)
	for range rand.IntN(10) {
		time.Sleep(5 * time.Millisecond)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		d.line("beat", job.Subject, job.RunID, job.Attempt)
	}
	d.line("end", job.Subject, job.RunID, job.Attempt)
	return nil, nil
}

// config is that of an engine that writes a diary.
func (c childConfig) config(t testing.TB, d diary) jobs.Config {
	return jobs.Config{
		DB: dbtest.Open(t, c.URL), Queue: c.Queue, Now: fast(c.Since), Poll: 50 * time.Millisecond, Lease: c.Lease,
		Pools: map[jobs.Kind]jobs.Pool{jobs.Scan: {Do: d.work, Workers: 4, Backoff: minutes}},
	}
}

// TestKilledChild is not a test but what the children do: work until they are killed.
func TestKilledChild(t *testing.T) {
	text := os.Getenv(envChild)
	if text == "" {
		t.Skip("only as a child of TestProofKills")
	}
	var c childConfig
	require.NoError(t, json.Unmarshal([]byte(text), &c))
	d := openDiary(t, c.Diary)
	_, err := jobs.Open(t.Context(), c.config(t, d))
	require.NoError(t, err)
	d.line("up")
	select {}
}

// start starts a child and waits until it works. Others work meanwhile.
func (c childConfig) start(s *history) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(s, err)
	text, err := json.Marshal(c)
	require.NoError(s, err)
	cmd := exec.CommandContext(s.Context(), self, "-test.run=^TestKilledChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), envChild+"="+string(text))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(s, cmd.Start())
	s.await("a child is up", func() bool {
		s.look()
		content, err := os.ReadFile(c.Diary)
		return err == nil && strings.Contains("\n"+string(content), fmt.Sprintf("\n%d up\n", cmd.Process.Pid))
	})
	return cmd
}

// kill kills a child at some moment of its work.
func kill(s *scene, cmd *exec.Cmd) {
	time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
	require.NoError(s, cmd.Process.Kill(), "it does not end by itself")
	require.ErrorContains(s, cmd.Wait(), "killed", cmd.Stdout)
}

// Servers that are killed at any moment lose no tick: what died with them is taken up,
// what has ended is not done again, and no task is done twice at the same time. On
// SQLite one server follows the other; on PostgreSQL there are two.
func TestProofKills(t *testing.T) {
	t.Parallel()
	dbtest.EachURL(t, func(t *testing.T, url string) {
		t.Parallel()
		s := newScene(t, url)
		c := childConfig{URL: url, Queue: s.queue, Diary: filepath.Join(t.TempDir(), "diary"), Since: time.Now(), Lease: time.Duration(scaled(15, 5)) * time.Second}
		h := &history{scene: s, tasks: manyTasks(), runs: map[string]jobs.Run{}}
		for _, task := range h.tasks {
			set(t, s.d, task, start)
		}
		var children []*exec.Cmd
		if s.d.Engine() == "postgres" {
			children = append(children, c.start(h))
		}
		over := map[string]int{} // runs that had ended, with the length of the diary then
		for range scaled(4, 200) {
			children = append(children, c.start(h))
			rand.Shuffle(len(children), func(i, j int) { children[i], children[j] = children[j], children[i] })
			kill(s, children[0])
			children = children[1:]
			h.look()
			content, err := os.ReadFile(c.Diary)
			require.NoError(t, err)
			for id, r := range h.runs {
				if _, ok := over[id]; !ok && !r.Ended.IsZero() {
					over[id] = len(content)
				}
			}
		}
		s.open(c.config(t, openDiary(t, c.Diary)))
		h.settled(fast(c.Since)())
		for _, child := range children {
			kill(s, child)
		}
		h.settled(fast(c.Since)())
		h.check()
		c.read(t, h, over)
	})
}

// read proves by the diary what was done.
func (c childConfig) read(t *testing.T, h *history, over map[string]int) {
	content, err := os.ReadFile(c.Diary)
	require.NoError(t, err)
	var begun, twice int
	at := map[string]string{}    // the work of each task that is at work
	ends := map[string]int{}     // of each run
	attempts := map[string]int{} // of each run
	offset := 0
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); offset += len(lines.Bytes()) + 1 {
		var pid, attempt int
		var what, subject, run string
		n, _ := fmt.Sscan(lines.Text(), &pid, &what, &subject, &run, &attempt)
		if n == 2 {
			continue // it came up
		}
		require.Equal(t, 5, n, lines.Text())
		work := fmt.Sprint(pid, run, attempt)
		switch what {
		case "begin":
			begun++
			require.Greater(t, attempt, attempts[run], "%s: each attempt is another one", run)
			attempts[run] = attempt
			at[subject] = work
			if end, ok := over[run]; ok {
				require.Less(t, offset, end, "%s was begun when it had ended", run)
			}
		case "end":
			if ends[run]++; ends[run] > 1 {
				twice++
			}
			fallthrough
		default:
			require.Equal(t, at[subject], work, "%s: two at once", subject)
		}
	}
	var again int
	for id, r := range h.runs {
		if !r.Ended.IsZero() {
			require.Positive(t, ends[id], "%s is done and was not", id)
			require.Equal(t, attempts[id], r.Attempt)
			again += r.Attempt - 1
		}
	}
	t.Log(len(h.runs), "runs begun", begun, "times,", again, "taken up,", twice, "of these had ended without having said so")
}
