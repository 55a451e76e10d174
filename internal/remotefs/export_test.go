package remotefs

// Held is how many bytes of files lie in the cache or are on their way.
func Held(f *FS) (bytes int64) {
	c := f.blocks
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.blocks {
		select {
		case <-b.done:
			bytes += int64(len(b.data))
		default:
		}
	}
	return bytes + int64(len(c.slots))*c.block
}
