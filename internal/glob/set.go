package glob

import "slices"

// A set is a choice of characters, or with not all others. The zero set has no
// character.
type set struct {
	not    bool
	ranges []span
}

// A span is a range of characters, both ends included.
type span struct{ from, to rune }

func (s *set) has(r rune) bool {
	for _, c := range s.ranges {
		if c.from <= r && r <= c.to {
			return !s.not
		}
	}
	return s.not
}

// parseSet reads what stands between brackets. It does what Python does, also
// where nobody would have thought it up: a range that runs backwards disappears
// before the set is looked at, so the set [b-a!x] is the set [!x].
func parseSet(body []rune) *set {
	chunks := dropBackwards(split(body))
	s := &set{}
	if len(chunks[0]) > 0 && chunks[0][0] == '!' {
		s.not = true
		chunks[0] = chunks[0][1:]
	}
	for i, chunk := range chunks {
		for _, r := range chunk {
			s.add(r, r)
		}
		if i == 0 {
			continue
		}
		if before := chunks[i-1]; len(before) > 0 {
			s.add(before[len(before)-1], chunk[0])
		} else { // a hyphen at the start makes no range
			s.add('-', '-')
		}
	}
	return s
}

func (s *set) add(from, to rune) { s.ranges = append(s.ranges, span{from, to}) }

// split cuts body at the hyphens that make ranges. A hyphen at the start, after
// the ! or at the end, and one that follows a range, stand for themselves.
func split(body []rune) [][]rune {
	var chunks [][]rune
	start, k := 0, 1
	if len(body) > 0 && body[0] == '!' {
		k = 2
	}
	for k < len(body) {
		n := slices.Index(body[k:], '-')
		if n < 0 {
			break
		}
		k += n
		chunks = append(chunks, slices.Clone(body[start:k]))
		start, k = k+1, k+3
	}
	switch tail := slices.Clone(body[start:]); {
	case len(tail) > 0 || len(chunks) == 0:
		return append(chunks, tail)
	default:
		last := len(chunks) - 1
		chunks[last] = append(chunks[last], '-')
		return chunks
	}
}

// dropBackwards joins chunks whose range would run backwards, without its ends.
func dropBackwards(chunks [][]rune) [][]rune {
	for k := len(chunks) - 1; k > 0; k-- {
		before := chunks[k-1]
		if last := len(before) - 1; before[last] > chunks[k][0] {
			chunks[k-1] = append(before[:last], chunks[k][1:]...)
			chunks = slices.Delete(chunks, k, k+1)
		}
	}
	return chunks
}
