package ftp

import "sync"

// answer is what was learned of how a server behaves.
type answer int

const (
	unknown answer = iota
	yes
	no
)

// learned is what a Store knows of its server: asked once, for all connections.
type learned struct {
	mu       sync.Mutex
	features map[string]string // nil until asked; empty when the server has no FEAT
	noFeat   bool              // it has none: what it can do must be tried
	lacks    map[string]bool   // commands that it did not know

	pipelines answer          // answers commands that came together one after the other
	hidden    answer          // understands LIST -a
	pruning   answer          // refuses to remove folders that are not empty
	rewrites  answer          // REST and STOR write into a file
	swept     map[string]bool // folders that were looked through for strays
	folders   map[string]bool // that were there
}

// has reports whether the server has a command, as far as is known.
func (l *learned) has(command string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lacks[command] {
		return false
	}
	_, ok := l.features[command]
	return ok || l.noFeat && command != "MLST" && command != "MFMT"
}

// feature returns what the server says of a feature.
func (l *learned) feature(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.features[name]
}

// knownToLack reports whether the server did not know a command.
func (l *learned) knownToLack(command string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lacks[command]
}

// lists reports whether the server says of itself that it has a feature.
func (l *learned) lists(feature string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.features[feature]
	return ok
}

// miss notes that the server does not know a command.
func (l *learned) miss(command string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lacks == nil {
		l.lacks = map[string]bool{}
	}
	l.lacks[command] = true
}

func (l *learned) get(a *answer) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *a
}

func (l *learned) set(a *answer, v answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*a = v
}
