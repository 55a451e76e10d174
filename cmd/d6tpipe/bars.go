package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bars are the lines at the end of a terminal while files move: one bar for files,
// one for bytes, and the names of the files under way.
type bars struct {
	tally *tally
	all   *mpb.Progress
	names *mpb.Bar
	files *mpb.Bar // nil until there is a plan
	bytes *mpb.Bar
	drawn time.Time
}

const (
	barWidth   = 30
	barRefresh = 100 * time.Millisecond
)

func newBars(out io.Writer, t *tally) *bars {
	b := &bars{tally: t, all: mpb.New(mpb.WithOutput(out), mpb.WithWidth(barWidth), mpb.WithRefreshRate(barRefresh))}
	b.names = b.all.MustAdd(0, nil, mpb.BarPriority(2), mpb.BarFillerTrim(), mpb.PrependDecorators(decor.Any(b.namesLine)))
	return b
}

// refresh brings the bars up to date, if it is time. It is called by one goroutine
// at a time.
func (b *bars) refresh(planned bool) {
	now := time.Now()
	if !planned && (b.files == nil || now.Sub(b.drawn) < barRefresh/2) {
		return
	}
	b.drawn = now
	files, ofFiles, bytes, ofBytes := b.tally.counts()
	if b.files == nil {
		if ofFiles == 0 {
			return
		}
		b.files = b.add("files", 0, func(decor.Statistics) string { return b.filesText() })
		b.bytes = b.add("bytes", 1, func(decor.Statistics) string { return b.bytesText() })
	}
	set(b.files, files, ofFiles)
	set(b.bytes, bytes, ofBytes)
}

// add adds a bar. Its total is set later: one that is known from the start would end
// the bar when it is reached, although a file may begin again.
func (b *bars) add(name string, place int, text decor.DecorFunc) *mpb.Bar {
	return b.all.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarPriority(place), mpb.PrependDecorators(decor.Name(name)), mpb.AppendDecorators(decor.Any(text)))
}

func set(bar *mpb.Bar, current, total int64) {
	bar.SetTotal(total, false)
	bar.SetCurrent(current)
}

func (b *bars) filesText() string {
	files, ofFiles, _, _ := b.tally.counts()
	return fmt.Sprintf("%d of %d", files, ofFiles)
}

func (b *bars) bytesText() string {
	_, _, bytes, ofBytes := b.tally.counts()
	text := size(bytes) + " of " + size(ofBytes)
	if pace := b.tally.pace(time.Now()); pace != "" {
		text += ", " + pace
	}
	return text
}

// namesLine names what is under way, as far as the terminal is wide.
func (b *bars) namesLine(s decor.Statistics) string {
	keys := b.tally.busy()
	if len(keys) == 0 {
		if _, ofFiles, _, _ := b.tally.counts(); ofFiles > 0 {
			return ""
		}
		return "looking at both sides ..."
	}
	var line strings.Builder
	for i, key := range keys {
		more := ""
		if rest := len(keys) - i; rest > 0 {
			more = fmt.Sprintf(" and %d more", rest)
		}
		name := safe(key)
		if i > 0 {
			name = ", " + name
		}
		if i > 0 && runewidth.StringWidth(line.String()+name+more) > s.AvailableWidth {
			line.WriteString(more)
			break
		}
		line.WriteString(name)
	}
	return line.String()
}

// Write prints lines above the bars.
func (b *bars) Write(text []byte) (int, error) { return b.all.Write(text) }

// close takes all from the terminal. What was written above stays.
func (b *bars) close() {
	if b.files != nil {
		b.refresh(true) // the last picture is a whole one
	}
	for _, bar := range []*mpb.Bar{b.names, b.files, b.bytes} {
		if bar != nil {
			bar.Abort(true)
		}
	}
	b.all.Wait()
}
