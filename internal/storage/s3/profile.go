package s3

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/ini.v1"
)

// A profile is what the shared files of Amazon's tools say under AWS_PROFILE, the
// first of them first. minio-go takes keys from there and tells nothing else.
type profile struct {
	named    bool // AWS_PROFILE asks for it
	sections []*ini.Section
}

func sharedProfile() (profile, error) {
	name := os.Getenv("AWS_PROFILE")
	p := profile{named: name != ""}
	name = cmp.Or(name, "default")
	inConfig := []string{"profile " + name}
	if name == "default" {
		inConfig = append(inConfig, name)
	}
	err := p.add("AWS_SHARED_CREDENTIALS_FILE", "credentials", name)
	if err == nil {
		err = p.add("AWS_CONFIG_FILE", "config", inConfig...)
	}
	return p, err
}

// add reads the sections of a file, if they are there. No error quotes the file.
func (p *profile) add(variable, base string, sections ...string) error {
	path := os.Getenv(variable)
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil // and so there is no such file
		}
		path = filepath.Join(home, ".aws", base)
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := ini.Load(raw)
	if err != nil {
		return fmt.Errorf("%s is damaged", path)
	}
	for _, name := range sections {
		if s, err := file.GetSection(name); err == nil {
			p.sections = append(p.sections, s)
		}
	}
	return nil
}

// hasKeys reports whether the profile says how to get keys. One that was asked for
// and is not there should.
func (p profile) hasKeys() bool {
	names := []string{"aws_access_key_id", "aws_secret_access_key", "sso_session", "sso_start_url", "sso_role_name", "credential_process", "role_arn"}
	return p.named && p.sections == nil || slices.ContainsFunc(names, func(name string) bool { return p.value(name) != "" })
}

func (p profile) value(name string) string {
	for _, s := range p.sections {
		if value := s.Key(name).String(); value != "" {
			return value
		}
	}
	return ""
}
