package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// lookAtProfile looks at the file of profiles. err is what reading it came to.
func lookAtProfile(cfg d6tpipe.Config, err error) []finding {
	if err != nil {
		f := fails("profile", "", err)
		if errors.Is(err, d6tpipe.ErrDamaged) {
			f.Advice = "Mend the file by hand, or move it away and begin anew with: d6tpipe profiles init"
		}
		return []finding{f}
	}
	f := finding{What: "profile", State: stateOK, Text: cfg.Profile + " in " + cfg.File}
	names, err := d6tpipe.ListProfiles(cfg.File)
	if err != nil {
		return []finding{fails("profile", "", err)}
	}
	if !slices.Contains(names, cfg.Profile) {
		f.State, f.Text = stateWarning, fmt.Sprintf("%s is not in %s; the defaults are used", cfg.Profile, cfg.File)
		f.Advice = fmt.Sprintf("Make it with: d6tpipe --profile %s profiles init", cfg.Profile)
	}
	findings := []finding{f}
	if info, err := os.Stat(cfg.File); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		findings = append(findings, finding{What: "profile", State: stateWarning,
			Text:   fmt.Sprintf("others on this machine may read %s (%v), and it holds a key", cfg.File, info.Mode().Perm()),
			Advice: "Keep them out with: chmod 600 " + cfg.File})
	}
	for _, name := range []string{"D6TPIPE_SERVER", "D6TPIPE_TOKEN"} {
		if os.Getenv(name) != "" {
			findings = append(findings, finding{What: "profile", State: stateOK, Text: name + " stands in for what the profile has"})
		}
	}
	return findings
}

// littleSpace, in bytes, is when a warning is due.
const littleSpace = 1 << 30

// lookAtFileRepo looks at the folder with the files of the pipes.
func lookAtFileRepo(cfg d6tpipe.Config) []finding {
	const what = "file repo"
	f := finding{What: what, State: stateOK, Text: cfg.FileRepo}
	folder, there := existing(cfg.FileRepo)
	if there {
		if err := tryToWrite(folder); err != nil {
			return []finding{{What: what, State: stateFailed, Text: err.Error(),
				Advice: "It must be a folder in which you may write. Another one: d6tpipe profiles set --file-repo FOLDER"}}
		}
	} else {
		f.Text += ", which the first pull makes"
	}
	if free := freeSpace(folder); free >= 0 {
		f.Text += ", " + size(free) + " free"
		if free < littleSpace {
			f.State, f.Advice = stateWarning, "There is little space left: remove something, or move it with: d6tpipe profiles move FOLDER"
		}
	}
	return append([]finding{f}, lookAtParts(cfg)...)
}

// existing climbs from a folder to the first that is there.
func existing(folder string) (found string, itself bool) {
	for found = folder; ; found = filepath.Dir(found) {
		if _, err := os.Stat(found); !errors.Is(err, fs.ErrNotExist) || found == filepath.Dir(found) {
			return found, found == folder
		}
	}
}

// tryToWrite makes a file and removes it: no look at permissions tells as much.
func tryToWrite(folder string) error {
	f, err := os.CreateTemp(folder, ".d6tpipe-doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// stalePart is after how long a part file was hardly left by a pull that will go on.
const stalePart = 7 * 24 * time.Hour

// lookAtParts tells of pulls that did not end.
func lookAtParts(cfg d6tpipe.Config) (findings []finding) {
	unfinished, err := cfg.Unfinished()
	if err != nil {
		return []finding{fails("file repo", "", err)}
	}
	for _, u := range unfinished {
		f := finding{What: "pipe", Name: u.Pipe, State: stateOK, Text: count(u.Files, "part file") + " of a pull that did not end"}
		if time.Since(u.Last) > stalePart {
			f.State = stateWarning
		}
		f.Advice = "The next pull goes on with it: d6tpipe pull " + u.Pipe
		findings = append(findings, f)
	}
	return findings
}

// lookAtCatalogue opens the catalogue of local mode; nil means that it cannot be used.
func (d *doctor) lookAtCatalogue(ctx context.Context) d6tpipe.API {
	api, err := d6tpipe.NewAPILocal(d.cfg)
	if err == nil {
		_, err = api.Pipes().Names(ctx)
	}
	if err != nil {
		f := fails("catalogue", "", err)
		if errors.Is(err, d6tpipe.ErrDamaged) {
			f.Advice = "Mend the file by hand, or bring it back from a backup or from git."
		}
		d.tell(f)
		return nil
	}
	text := d.cfg.Catalog
	if _, err := os.Stat(text); errors.Is(err, fs.ErrNotExist) {
		text += ", which is empty"
	}
	d.tell(finding{What: "catalogue", State: stateOK, Text: text})
	return api
}
