package storage

import (
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	// x/text is the one import of this package from outside the standard library:
	// which names a file system takes for the same follows from Unicode's tables of
	// case folding and normalisation, and the standard library has neither.
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// joiners are the characters of no width that CheckKey allows; file systems that
// ignore them take names for the same that differ only in these.
var joiners = strings.NewReplacer("\u200c", "", "\u200d", "")

// Collisions returns an error for every key that cannot lie in one folder with
// another of keys on every system: keys that are the same after case folding and
// NFC normalisation ("Data.csv", "data.csv"), and a file that is also a folder of
// another ("a", "a/b"). All members of a collision are named, because which one
// would win depends on the order of writing. The result is sorted by key and does
// not depend on the order of keys; a key that occurs twice collides with itself.
func Collisions(keys []string) []*KeyError {
	return slices.SortedFunc(slices.Values(collide(len(keys), slices.Values(keys))), func(a, b *KeyError) int { return strings.Compare(a.Key, b.Key) })
}

type foldedKey struct{ folded, key string }

// collide looks for suspects among n keys first, because most listings have none; only
// keys at or below one are sorted into groups.
func collide(n int, keys iter.Seq[string]) (refused []*KeyError) {
	suspects := suspects(n, keys)
	if len(suspects) == 0 {
		return nil
	}
	var names []foldedKey
	fold := folder()
	for key := range keys {
		if folded := fold(key); below(suspects, folded) {
			names = append(names, foldedKey{folded, key})
		}
	}
	slices.SortFunc(names, func(a, b foldedKey) int {
		if c := comparePaths(a.folded, b.folded); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	return refuseGroups(names)
}

// suspects returns the folded names that occur twice, and those of files that are
// folders too. It knows the names by their hashes: one that only shares its hash
// with another is looked at, and found to be alone.
func suspects(n int, keys iter.Seq[string]) map[string]bool {
	seed, fold := maphash.MakeSeed(), folder()
	files := make([]uint64, 0, n)
	for key := range keys {
		files = append(files, maphash.String(seed, fold(key)))
	}
	slices.Sort(files)
	twice := map[uint64]bool{}
	for i := 1; i < len(files); i++ {
		if files[i] == files[i-1] {
			twice[files[i]] = true
		}
	}
	found := map[string]bool{}
	last := ""
	for key := range keys {
		folded := fold(key)
		if len(twice) > 0 && twice[maphash.String(seed, folded)] {
			found[folded] = true
		}
		folder := folded[:strings.LastIndexByte(folded, '/')+1]
		if folder == last {
			continue // most files lie beside the one before
		}
		last = folder
		for i := range len(folder) {
			if folder[i] != '/' {
				continue
			}
			if _, ok := slices.BinarySearch(files, maphash.String(seed, folder[:i])); ok {
				found[folder[:i]] = true
			}
		}
	}
	return found
}

// below reports whether path or a folder that it lies in is among names.
func below(names map[string]bool, path string) bool {
	for i := range len(path) {
		if path[i] == '/' && names[path[:i]] {
			return true
		}
	}
	return names[path]
}

// refuseGroups goes through sorted names: a file comes first, and everything that
// lies below it as a folder follows at once.
func refuseGroups(names []foldedKey) (refused []*KeyError) {
	for start := 0; start < len(names); {
		end := start + 1
		for end < len(names) && collides(names[start].folded, names[end].folded) {
			end++
		}
		if end > start+1 {
			refused = append(refused, refuseGroup(names[start:end])...)
		}
		start = end
	}
	return refused
}

// collides reports whether path is file or lies below it.
func collides(file, path string) bool {
	return strings.HasPrefix(path, file) && (len(path) == len(file) || path[len(file)] == '/')
}

// refuseGroup names for each member another one of its group.
func refuseGroup(group []foldedKey) []*KeyError {
	refused := make([]*KeyError, 0, len(group))
	for i, name := range group {
		other := group[0]
		if i == 0 {
			other = group[1]
		}
		switch {
		case i > 0 && group[i-1].key == name.key:
			continue // reported with its twin
		case other.key == name.key:
			refused = append(refused, &KeyError{name.key, "is listed more than once"})
		case other.folded == name.folded:
			refused = append(refused, &KeyError{name.key, fmt.Sprintf("is the same file as %q on some systems", other.key)})
		default:
			refused = append(refused, &KeyError{name.key, fmt.Sprintf("cannot lie beside %q: one is a folder of the other", other.key)})
		}
	}
	return refused
}

// comparePaths orders like strings.Compare with the slash before every other
// character.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			switch {
			case a[i] == '/':
				return -1
			case b[i] == '/':
				return 1
			}
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// folder returns the function that maps the names that some file system takes for
// the same to one string (Unicode's canonical caseless matching, D145, joiners
// dropped). It keeps state, so that each caller needs its own.
func folder() func(string) string {
	caser := cases.Fold()
	return func(key string) string {
		if isASCII(key) {
			return strings.ToLower(key)
		}
		return norm.NFC.String(caser.String(norm.NFD.String(joiners.Replace(key))))
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
