package sftp

import "sync"

// buffers are packets that wait to be used again.
var buffers pools

// pools hold buffers of a few sizes: for names and attributes, and for a chunk of
// a file with its header.
type pools [len(classes)]sync.Pool

var classes = [...]int{1 << 10, 8 << 10, safeChunk + 512, 128<<10 + 512}

// get returns a buffer of n bytes, which hold anything.
func (p *pools) get(n int) []byte {
	for i, size := range classes {
		if n > size {
			continue
		}
		if b, ok := p[i].Get().(*[]byte); ok {
			return (*b)[:n]
		}
		return make([]byte, n, size)
	}
	return make([]byte, n)
}

// put takes back a buffer that nobody uses any more.
func (p *pools) put(b []byte) {
	for i, size := range classes {
		if cap(b) == size {
			p[i].Put(&b)
			return
		}
	}
}
